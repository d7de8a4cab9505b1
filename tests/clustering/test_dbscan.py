"""DBSCAN on sparse and dense distances against scikit-learn."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from helpers.brute_force import dense
from sklearn.cluster import DBSCAN

from sdcl.clustering import jaccard_distance
from sdcl.clustering.density import dbscan, dbscan_of_pairs


@pytest.mark.parametrize("seed", range(10))
def test_random_graphs(seed):
    """Sparse enough for border images that two clusters reach, and for outliers."""
    generator = np.random.default_rng(seed)
    full = np.triu(generator.uniform(0, 1, (70, 70)), 1).astype(np.float32)
    full = full + full.T
    for eps, min_samples in ((0.02, 3), (0.04, 4), (0.06, 5), (0.5, 80), (0.3, 1)):
        expected = DBSCAN(eps=eps, min_samples=min_samples, metric="precomputed").fit(full).labels_
        for distance in (sp.csr_array(full), full):
            labels = dbscan(distance, eps, min_samples)
            np.testing.assert_array_equal(labels.ids, expected)
            assert labels.num_clusters == expected.max() + 1


@pytest.mark.parametrize("eps", [0.2, 0.5, 0.7, 0.9])
def test_jaccard_distances(eps):
    generator = np.random.default_rng(3)
    centers = generator.standard_normal((12, 6))
    features = centers[generator.integers(0, 12, 200)] + 0.4 * generator.standard_normal((200, 6))
    features = (features / np.linalg.norm(features, axis=1, keepdims=True)).astype(np.float32)
    distance = jaccard_distance(torch.from_numpy(features), 12, 4)
    expected = DBSCAN(eps=eps, min_samples=4, metric="precomputed").fit(dense(distance)).labels_
    np.testing.assert_array_equal(dbscan(distance, eps).ids, expected)


def test_pairs():
    """Images 0, 1, 2 are near one another, 3 is near 2 alone, 4 is near none."""
    first, second = np.array([0, 0, 1, 2]), np.array([1, 2, 2, 3])
    np.testing.assert_array_equal(dbscan_of_pairs(5, first, second, 3).ids, [0, 0, 0, 0, -1])
    np.testing.assert_array_equal(dbscan_of_pairs(5, first, second, 5).ids, [-1] * 5)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="--eps"):
        dbscan(np.zeros((3, 3)), 1.0)
    with pytest.raises(ValueError, match="N, N"):
        dbscan(np.zeros((3, 4)), 0.5)
