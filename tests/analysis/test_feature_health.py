"""Each sign of trouble is provoked, and healthy values stay silent."""

import numpy as np
import pytest
import torch

from sdcl.analysis.feature_health import collapsed, feature_health, label_warnings
from sdcl.clustering import PseudoLabels

LIMITS = {"max_similarity": 0.999, "min_rank": 1.5}


def test_feature_statistics_against_all_pairs():
    x = torch.randn(60, 12, generator=torch.Generator().manual_seed(0)) + 0.5
    units = torch.nn.functional.normalize(x)
    found = feature_health(x)
    pairs = units @ units.T
    assert found["mean_similarity"] == pytest.approx(
        float((pairs.sum() - pairs.trace()) / (60 * 59)), abs=1e-5
    )
    values = torch.linalg.eigvalsh(torch.cov(units.T, correction=0)).clamp(min=1e-12).double()
    share = values / values.sum()
    assert found["effective_rank"] == pytest.approx(float((-(share * share.log()).sum()).exp()), rel=1e-3)
    assert not collapsed("visible", found, **LIMITS)


def test_collapse_is_seen_in_both_ways():
    point = torch.ones(50, 8) + 1e-4 * torch.randn(50, 8, generator=torch.Generator().manual_seed(0))
    assert "mean cosine similarity" in collapsed("visible", feature_health(point), **LIMITS)
    line = torch.linspace(-1, 1, 50)[:, None] * torch.ones(8) / 8 + torch.eye(8)[0]
    assert "--min-rank" in collapsed("infrared", feature_health(line), **LIMITS)
    assert feature_health(torch.ones(1, 4))["mean_similarity"] == 0  # one image has no pair


def test_labels_that_are_outliers_or_cameras():
    cameras = np.repeat([1, 2], 50)
    limits = {"max_outliers": 0.8, "max_camera_purity": 0.9}
    assert label_warnings("visible", PseudoLabels(np.tile(np.arange(10), 10), 10), cameras, **limits) == []
    (said,) = label_warnings("visible", PseudoLabels(np.repeat(np.arange(10), 10), 10), cameras, **limits)
    assert "clusters of visible are cameras: 100%" in said
    (said,) = label_warnings(
        "visible",
        PseudoLabels(np.r_[np.tile([0, 1], 5), np.full(90, -1)], 2),
        cameras,
        **limits | {"max_camera_purity": 1},
    )
    assert "90% of visible are outliers" in said
    one_camera = label_warnings(
        "visible", PseudoLabels(np.repeat(np.arange(10), 10), 10), np.ones(100, int), **limits
    )
    assert one_camera == []  # nothing can be told where there is one camera
