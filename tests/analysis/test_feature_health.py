"""Each sign of trouble is provoked, and healthy values stay silent."""

import numpy as np
import pytest
import torch

from sdcl.analysis.feature_health import collapsed, feature_health, label_warnings
from sdcl.clustering import LabelSet, PseudoLabels
from sdcl.config.settings import resolve
from sdcl.methods import Stage
from sdcl.training.monitor import Health

LIMITS = {"max_similarity": 0.999, "min_rank": 1.5}


def test_feature_statistics_against_all_pairs():
    x = torch.randn(60, 12, generator=torch.Generator().manual_seed(0)) + 0.5
    units = torch.nn.functional.normalize(x)
    found = feature_health(x)
    pairs = units @ units.T
    assert found["mean_similarity"] == pytest.approx(float((pairs.sum() - pairs.trace()) / (60 * 59)), abs=1e-5)
    values = torch.linalg.eigvalsh(torch.cov(units.T, correction=0)).clamp(min=1e-12).double()
    share = values / values.sum()
    assert found["effective_rank"] == pytest.approx(float((-(share * share.log()).sum()).exp()), rel=1e-3)
    assert not collapsed("visible", found, **LIMITS)


def test_collapse_is_seen_in_both_ways():
    point = torch.ones(50, 8) + 1e-4 * torch.randn(50, 8, generator=torch.Generator().manual_seed(0))
    assert "mean cosine" in collapsed("visible", feature_health(point), **LIMITS)
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
        "visible", PseudoLabels(np.r_[np.tile([0, 1], 5), np.full(90, -1)], 2), cameras, **limits | {"max_camera_purity": 1}
    )
    assert "90% of visible are outliers" in said
    one_camera = label_warnings("visible", PseudoLabels(np.repeat(np.arange(10), 10), 10), np.ones(100, int), **limits)
    assert one_camera == []  # nothing can be told where there is one camera


class Log:
    def __init__(self):
        self.lines = []

    def line(self, text):
        self.lines.append(text)


def watch(row, epoch, synthetic=False, **said):
    log = Log()
    health = Health(resolve({"watch": True, **said})[0], {"visible": np.ones(4, int), "infrared": np.ones(4, int)}, log, synthetic)
    health.begin(epoch)
    health.compare(row)
    return log.lines


def test_watch_says_when_a_run_leaves_the_published_curve():
    protocol = "SYSU-MM01 all-search single-shot, 10 seeded draws"
    test = {"protocol": protocol, "R1": 48.0, "mAP": 30.0, "mINP": 33.0}
    labels = {"visible": {"clusters": 700, "outliers": 100}, "infrared": {"clusters": 90, "outliers": 9000}}
    lines = watch({"test": [test], "labels": {}}, 9)
    assert any(line.startswith("watch: epoch 9, R1 48.00, published 47.66 (+0.34)") for line in lines)
    assert any(line.startswith("warning: has left the published curve: epoch 9, mAP 30.00") for line in lines)
    lines = watch({"labels": labels}, 0)
    assert any("watch: epoch 0, clusters of visible 700, published 687" in line for line in lines)
    assert any("warning: has left the published curve: epoch 0, clusters of infrared 90" in line for line in lines)


def test_watch_is_silent_about_other_data():
    for more in ({"method": "adca"}, {"synthetic": True}):
        (line,) = watch({"labels": {}}, 0, **more)
        assert "nothing to compare with" in line


def test_a_stage_of_one_camera_is_not_asked_for_cameras():
    log = Log()
    health = Health(resolve({})[0], {"visible": np.array([1, 1, 2, 2])}, log)
    alone = PseudoLabels(np.array([0, 0, 1, 1]), 2)
    health.labels(Stage("cameras", {}, 1, None, [LabelSet("visible_camera_1", "visible", alone, np.array([0, 1]))]))
    assert not log.lines
    health.labels(Stage("modalities", {}, 1, None, [LabelSet("visible", "visible", alone)]))
    assert "cameras" in log.lines[0]
