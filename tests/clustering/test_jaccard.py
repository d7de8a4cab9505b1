"""Sparse Jaccard distance against the released arrays and a dense form; its CPU and GPU kernels."""

import numpy as np
import pytest
import torch
from helpers import parity
from helpers.brute_force import brute_force, degenerate, dense

from sdcl.clustering import jaccard, jaccard_distance, jaccard_gpu, nearest_neighbors


@parity.recorded("jaccard1", "jaccard2", keys=r"dist_k1_(\d+)_k2_(\d+)")
@pytest.mark.parametrize("backend", ["torch", "faiss"])
def test_released_distances(arrays, key, backend):
    if backend == "faiss":
        pytest.importorskip("faiss", reason="faiss is an extra; the torch search is the default")
    k1, k2 = map(int, key)
    distance = jaccard_distance(torch.from_numpy(arrays["features"]), k1, k2, backend=backend)
    np.testing.assert_allclose(dense(distance), arrays[f"dist_k1_{k1}_k2_{k2}"], atol=1e-5)


SIZES = [(60, 8, 30, 6), (25, 4, 30, 6), (3, 4, 30, 6), (1, 4, 30, 6), (80, 5, 7, 3), (40, 3, 2, 1)]


@pytest.mark.parametrize("n,d,k1,k2", SIZES)
def test_brute_force(n, d, k1, k2):
    features = np.random.default_rng(n + k1).standard_normal((n, d)).astype(np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    distance = jaccard_distance(torch.from_numpy(features), k1, k2)
    np.testing.assert_allclose(dense(distance), brute_force(features, k1, k2), atol=1e-5)


@pytest.mark.parametrize("name", ["zeros", "duplicates", "crowd", "norms", "1", "2", "5", "9"])
@pytest.mark.parametrize("k1,k2", [(30, 6), (7, 1), (1, 3)])
def test_degenerate_features(name, k1, k2):
    array = degenerate(name)
    features = torch.from_numpy(array)
    expected = brute_force(array, k1, k2, nearest_neighbors(features, k1))
    np.testing.assert_allclose(dense(jaccard_distance(features, k1, k2)), expected, atol=1e-6)


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("name", ["random", "duplicates", "crowd", "norms", "zeros", "5"])
def test_cpu_and_gpu_kernels_agree_to_the_bit(monkeypatch, name, chunked):
    """The GPU kernels run on the CPU here; their chunks change nothing either."""
    features = torch.from_numpy(degenerate(name))
    if chunked:
        monkeypatch.setattr(jaccard_gpu, "TERMS", 5000)
        monkeypatch.setattr(jaccard_gpu, "CELLS", 5000)
    expected = jaccard_distance(features)
    monkeypatch.setattr(jaccard, "jaccard_cpu", jaccard_gpu)
    distance = jaccard_distance(features)
    np.testing.assert_array_equal(distance.indptr, expected.indptr)
    np.testing.assert_array_equal(distance.indices, expected.indices)
    np.testing.assert_array_equal(distance.data, expected.data)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="--k1"):
        jaccard_distance(torch.randn(8, 4), 0, 6)
    with pytest.raises(ValueError, match="non-empty"):
        jaccard_distance(torch.randn(8), 3, 2)
