"""Jaccard distance and DBSCAN against plain dense forms, on random and on degenerate features."""

import numpy as np
import scipy.sparse as sp
import torch
from helpers import cases
from helpers.brute_force import brute_force, dense
from hypothesis import given
from hypothesis import strategies as st
from sklearn.cluster import DBSCAN

from sdcl.clustering import dbscan, jaccard_distance, nearest_neighbors, pseudo_labels

KINDS = st.sampled_from(["unit", "duplicates", "zeros", "lengths"])


def features_of(kind, count, dims, seed):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((count, dims))
    if kind == "duplicates":
        x = x[rng.integers(0, max(1, count // 3), count)]
    if kind == "zeros":
        x[rng.random(count) < 0.4] = 0
    if kind != "lengths":
        x /= np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    return x.astype(np.float32)


@cases.few
@given(
    KINDS, st.integers(1, 24), st.integers(1, 6), st.integers(1, 30), st.integers(1, 6), st.integers(0, 10**6)
)
def test_jaccard(kind, count, dims, k1, k2, seed):
    x = features_of(kind, count, dims, seed)
    ranks = nearest_neighbors(torch.from_numpy(x), k1)
    assert (ranks[:, 0] == np.arange(count)).all() and all(len(set(row)) == min(k1, count) for row in ranks)
    found = dense(jaccard_distance(torch.from_numpy(x), k1, k2))
    np.testing.assert_allclose(found, brute_force(x, k1, k2, ranks), atol=2e-5)


@cases.few
@given(st.integers(1, 30), st.floats(0.05, 0.95), st.integers(1, 6), st.floats(0, 1), st.integers(0, 10**6))
def test_dbscan(count, eps, min_samples, density, seed):
    rng = np.random.default_rng(seed)
    near = np.triu(rng.random((count, count)) < density, 1)
    whole = np.where(near, rng.random((count, count)).astype(np.float32), np.float32(1))
    whole = np.minimum(whole, whole.T)
    np.fill_diagonal(whole, 0)
    rows, columns = np.nonzero((whole < 1) | np.eye(count, dtype=bool))
    sparse = sp.csr_array((whole[rows, columns], (rows, columns)), shape=whole.shape)
    expected = DBSCAN(eps=eps, min_samples=min_samples, metric="precomputed").fit_predict(whole)
    np.testing.assert_array_equal(dbscan(sparse, eps, min_samples).ids, expected)


@cases.few
@given(KINDS, st.integers(1, 24), st.integers(1, 30), st.floats(0.05, 0.95), st.integers(0, 10**6))
def test_labels_are_always_labels(kind, count, k1, eps, seed):
    found = pseudo_labels(torch.from_numpy(features_of(kind, count, 5, seed)), k1=k1, k2=3, eps=eps)
    assert len(found.ids) == count and set(found.ids[found.ids >= 0]) == set(range(found.num_clusters))
