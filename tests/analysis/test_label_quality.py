"""Label quality against its definition, on all images, on some, and with unknown identities."""

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from sdcl.analysis.label_quality import LabelQuality, purity
from sdcl.clustering import LabelSet, PseudoLabels
from sdcl.datasets.sample import UNKNOWN, Sample


def quality(identities, cameras):
    return LabelQuality({"visible": [Sample("", i, c, "visible") for i, c in zip(identities, cameras)]})


def test_purity_by_counting():
    draw = np.random.default_rng(0)
    for _ in range(20):
        labels, groups = draw.integers(0, 4, 30), draw.integers(0, 3, 30)
        best = sum(max(np.sum(groups[labels == c] == g) for g in range(3)) for c in np.unique(labels))
        assert purity(labels, groups) == pytest.approx(best / 30)
    assert purity(np.zeros(0, int), np.zeros(0, int)) == 0


def test_outliers_are_clusters_of_one_image_and_count_for_no_purity():
    ids = np.array([0, 0, 1, -1, -1])
    summary = quality([7, 7, 8, 8, 8], [1, 2, 1, 1, 1]).describe(
        LabelSet("visible", "visible", PseudoLabels(ids, 2, 0.5))
    )
    assert summary == {
        "clusters": 2,
        "outliers": 2,
        "eps": 0.5,
        "true_identities": 2,
        "ari": pytest.approx(adjusted_rand_score([7, 7, 8, 8, 8], [0, 0, 1, 2, 3])),
        "purity": 1.0,
        "camera_purity": pytest.approx(2 / 3),
    }


def test_of_some_images_only_those_count():
    ids, rows = np.array([-1, 0, 0, -1]), np.array([1, 2, 3])
    summary = quality([1, 2, 2, 3], [1, 1, 2, 2]).describe(
        LabelSet("a", "visible", PseudoLabels(ids, 1), rows)
    )
    assert (summary["clusters"], summary["outliers"], summary["true_identities"]) == (
        1,
        1,
        2,
    ) and "eps" not in summary


def test_unknown_identities_leave_out_what_needs_them():
    labels = PseudoLabels(np.array([0, 0]), 1)
    summary = quality([5, UNKNOWN], [1, 1]).describe(LabelSet("visible", "visible", labels))
    assert set(summary) == {"clusters", "outliers", "camera_purity"}
    only_known = LabelSet("visible", "visible", labels, np.array([0]))
    assert "ari" in quality([5, UNKNOWN], [1, 1]).describe(only_known)
