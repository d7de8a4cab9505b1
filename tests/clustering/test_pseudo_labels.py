"""Pseudo-labels: the released ones, scikit-learn on degenerate features, and the label values."""

import numpy as np
import pytest
import torch
from helpers import parity
from helpers.brute_force import degenerate, dense
from sklearn.cluster import DBSCAN

from sdcl.clustering import LabelSet, PseudoLabels, jaccard_distance, pseudo_labels

EPS = {"06": 0.6, "03": 0.3}


@parity.recorded("jaccard1", "jaccard2", keys=r"labels_k1_(\d+)_k2_(\d+)_eps(\d+)")
def test_released_labels(arrays, key):
    k1, k2, eps = int(key[0]), int(key[1]), EPS[key[2]]
    expected = arrays[f"labels_k1_{k1}_k2_{k2}_eps{key[2]}"]
    labels = pseudo_labels(torch.from_numpy(arrays["features"]), k1=k1, k2=k2, eps=eps, normalize=False)
    np.testing.assert_array_equal(labels.ids, expected)
    assert (labels.num_clusters, labels.eps) == (expected.max() + 1, eps)
    assert labels.outliers == (expected == -1).sum() and labels.occupied == labels.num_clusters


@pytest.mark.parametrize("name", ["zeros", "duplicates", "crowd", "norms", "1", "5"])
@pytest.mark.parametrize("backend", ["torch", "faiss"])
@pytest.mark.parametrize("eps", [0.3, 0.6])
def test_degenerate_features(name, backend, eps):
    if backend == "faiss":
        pytest.importorskip("faiss", reason="faiss is an extra; the torch search is the default")
    features = torch.from_numpy(degenerate(name))
    distance = dense(jaccard_distance(features, 30, 6, backend=backend))
    expected = DBSCAN(eps=eps, min_samples=4, metric="precomputed").fit(distance).labels_
    labels = pseudo_labels(features, k1=30, k2=6, eps=eps, backend=backend, normalize=False)
    np.testing.assert_array_equal(labels.ids, expected)
    assert labels.num_clusters == expected.max() + 1


def test_features_are_normalised():
    features = torch.randn(50, 8, generator=torch.Generator().manual_seed(0))
    scaled = features * torch.linspace(0.1, 9, 50)[:, None]
    np.testing.assert_array_equal(pseudo_labels(features, eps=0.6).ids, pseudo_labels(scaled, eps=0.6).ids)


def test_label_values():
    labels = PseudoLabels(np.array([0, -1, 2, 2]), 3)
    assert (labels.outliers, labels.occupied) == (1, 2)
    whole, part = LabelSet("x", "visible", labels), LabelSet("x", "visible", labels, np.array([0, 2]))
    np.testing.assert_array_equal(whole.ids, labels.ids)
    np.testing.assert_array_equal(part.ids, [0, 2])


def test_bad_radius_is_refused():
    with pytest.raises(ValueError, match="--eps"):
        pseudo_labels(torch.randn(8, 4), eps=1.0)
