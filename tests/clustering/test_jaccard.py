"""Sparse Jaccard and DBSCAN against the released arrays and against a plain dense form."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from helpers.brute_force import brute_force, dense, squared_distances
from sklearn.cluster import DBSCAN

from sdcl.clustering import dbscan, jaccard_distance, nearest_neighbors, pseudo_labels
from sdcl.clustering import jaccard as jaccard_module
from sdcl.clustering import neighbors as neighbors_module


@pytest.mark.parametrize("name", ["jaccard1", "jaccard2"])
@pytest.mark.parametrize("k1,k2", [(30, 6), (15, 6), (20, 6), (20, 1)])
@pytest.mark.parametrize("backend", ["torch", "faiss"])
def test_released_distances_and_labels(parity, name, k1, k2, backend):
    if backend == "faiss":
        pytest.importorskip("faiss", reason="faiss is an extra; the torch search is the default")
    arrays = parity(name)
    distance = jaccard_distance(torch.from_numpy(arrays["features"]), k1, k2, backend=backend)
    np.testing.assert_allclose(dense(distance), arrays[f"dist_k1_{k1}_k2_{k2}"], atol=1e-5)
    for eps, tag in ((0.6, "06"), (0.3, "03")):
        found = dbscan(distance, eps)
        expected = arrays[f"labels_k1_{k1}_k2_{k2}_eps{tag}"]
        np.testing.assert_array_equal(found.ids, expected)
        assert found.num_clusters == expected.max() + 1 and found.outliers == (expected == -1).sum()


@pytest.mark.parametrize("n,d,k1,k2", [(60, 8, 30, 6), (25, 4, 30, 6), (3, 4, 30, 6), (1, 4, 30, 6), (80, 5, 7, 3), (40, 3, 2, 1)])
def test_brute_force(n, d, k1, k2):
    features = np.random.default_rng(n + k1).standard_normal((n, d)).astype(np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    distance = jaccard_distance(torch.from_numpy(features), k1, k2)
    np.testing.assert_allclose(dense(distance), brute_force(features, k1, k2), atol=1e-5)


def degenerate(name):
    """Features whose rank lists hold many equal distances."""
    generator = np.random.default_rng(5)
    if name == "zeros":
        return np.zeros((40, 6), np.float32)
    few = generator.standard_normal((9, 6)).astype(np.float32)
    few /= np.linalg.norm(few, axis=1, keepdims=True)
    if name == "duplicates":
        return few[generator.integers(0, 9, 120)]  # about 13 copies of each, fewer than k1
    if name == "crowd":
        return np.concatenate((np.repeat(few[:1], 50, 0), few))  # 50 copies, more than k1
    if name == "norms":
        return few[generator.integers(0, 9, 90)] * generator.uniform(0.2, 1.5, (90, 1)).astype(np.float32)  # as GUR's rows
    return few[: int(name)]  # fewer images than k1


@pytest.mark.parametrize("name", ["zeros", "duplicates", "crowd", "norms", "1", "2", "5", "9"])
@pytest.mark.parametrize("backend", ["torch", "faiss"])
@pytest.mark.parametrize("k1,k2", [(30, 6), (7, 1), (1, 3)])
def test_degenerate_features(name, backend, k1, k2):
    if backend == "faiss":
        pytest.importorskip("faiss", reason="faiss is an extra; the torch search is the default")
    array = degenerate(name)
    features = torch.from_numpy(array)
    ranks = nearest_neighbors(features, k1, backend=backend)
    distance = jaccard_distance(features, k1, k2, backend=backend)
    np.testing.assert_allclose(dense(distance), brute_force(array, k1, k2, ranks), atol=1e-6)
    for eps in (0.3, 0.6):
        expected = DBSCAN(eps=eps, min_samples=4, metric="precomputed").fit(dense(distance)).labels_
        np.testing.assert_array_equal(dbscan(distance, eps).ids, expected)
        direct = pseudo_labels(features, k1=k1, k2=k2, eps=eps, backend=backend, normalize=False)
        np.testing.assert_array_equal(direct.ids, expected)
        assert direct.num_clusters == expected.max() + 1


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("name", ["recorded", "duplicates", "crowd", "norms", "zeros", "5"])
def test_compiled_and_device_forms_agree_to_the_bit(parity, monkeypatch, name, chunked):
    """The device's torch code runs on the host here; its chunks change nothing either."""
    array = parity("jaccard2")["features"] if name == "recorded" else degenerate(name)
    features = torch.from_numpy(array)
    if chunked:
        monkeypatch.setattr(jaccard_module, "TERMS", 5000)
        monkeypatch.setattr(jaccard_module, "CELLS", 5000)
    host = jaccard_distance(features)
    half_length = min(16, len(array))
    monkeypatch.setattr(jaccard_module, "member_sets", lambda ranks, k1: jaccard_module.device_member_sets(ranks, half_length))
    monkeypatch.setattr(jaccard_module, "query_expansion", jaccard_module.device_query_expansion)
    monkeypatch.setattr(jaccard_module, "distance_pairs", jaccard_module.device_distance_pairs)
    np.testing.assert_array_equal(dense(jaccard_distance(features)), dense(host))


@pytest.mark.parametrize("backend,chunk", [("torch", None), ("torch", 1), ("torch", 7), ("torch", 64), ("torch", 1000), ("faiss", None)])
@pytest.mark.parametrize("name", ["random", "duplicates", "crowd", "norms", "zeros", "5"])
def test_neighbors_are_the_nearest(backend, chunk, name):
    """The distances of a list are the k smallest ones, the image itself comes first, no image twice."""
    if backend == "faiss":
        pytest.importorskip("faiss", reason="faiss is an extra; the torch search is the default")
    array = np.random.default_rng(0).standard_normal((150, 8)).astype(np.float32) if name == "random" else degenerate(name)
    found = nearest_neighbors(torch.from_numpy(array), 12, backend=backend, chunk=chunk)
    distance = squared_distances(array)
    np.testing.assert_allclose(np.take_along_axis(distance, found, 1), np.sort(distance, 1)[:, :12], atol=2e-5)
    np.testing.assert_array_equal(found[:, 0], np.arange(len(array)))
    assert all(len(set(row)) == len(row) for row in found.tolist())


@pytest.mark.parametrize("form", ["host", "device"])
@pytest.mark.parametrize("parts", [1, 2, 3, 5])
@pytest.mark.parametrize("chunk", [16, 40, 400])
def test_strips_of_several_processes_make_the_lists_of_one(monkeypatch, form, parts, chunk):
    """Also when a process has no strip at all. The device's torch code runs on the host here."""
    features = torch.randn(333, 6, generator=torch.Generator().manual_seed(2))
    expected = nearest_neighbors(features, 11, chunk=chunk)
    if form == "device":
        monkeypatch.setattr(neighbors_module.jaccard_cpu, "offer", neighbors_module.device_offer)
    found = [neighbors_module.partial_lists(features, 11, chunk, part, parts) for part in range(parts)]
    np.testing.assert_array_equal(neighbors_module.nearest_of(found), expected)


@pytest.mark.parametrize("parts", [1, 2, 3])
@pytest.mark.parametrize("name", ["duplicates", "crowd", "zeros"])
def test_of_equally_distant_images_the_first_is_listed(parts, name):
    """Whole numbers have exact distances: the order is that of (distance, image), the image itself before all."""
    array = np.zeros((60, 4)) if name == "zeros" else np.random.default_rng(1).integers(0, 2 if name == "crowd" else 4, (60, 4))
    features = torch.from_numpy(array.astype(np.float32))
    distance = squared_distances(array.astype(np.float32)) - 1e3 * np.eye(60)
    lists = neighbors_module.nearest_of([neighbors_module.partial_lists(features, 9, 7, part, parts) for part in range(parts)])
    np.testing.assert_array_equal(lists, np.argsort(distance.round(), axis=1, kind="stable")[:, :9])


def test_neighbors_ignore_the_precision_of_the_training_around():
    features = torch.randn(60, 32, generator=torch.Generator().manual_seed(1))
    expected = nearest_neighbors(features, 9)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", torch.bfloat16):
            np.testing.assert_array_equal(nearest_neighbors(features, 9), expected)
            plain, inside = jaccard_distance(features), torch.get_float32_matmul_precision()
    finally:
        torch.set_float32_matmul_precision(before)
    assert inside == "medium"
    np.testing.assert_array_equal(plain.toarray(), jaccard_distance(features).toarray())


@pytest.mark.parametrize("seed", range(30))
def test_dbscan_of_random_graphs(seed):
    """Sparse enough for border images that two clusters reach, and for outliers."""
    generator = np.random.default_rng(seed)
    full = np.triu(generator.uniform(0, 1, (70, 70)), 1).astype(np.float32)
    full = full + full.T
    for eps, min_samples in ((0.02, 3), (0.04, 4), (0.06, 5), (0.5, 80), (0.3, 1)):
        expected = DBSCAN(eps=eps, min_samples=min_samples, metric="precomputed").fit(full).labels_
        np.testing.assert_array_equal(dbscan(sp.csr_array(full), eps, min_samples).ids, expected)


@pytest.mark.parametrize("eps", [0.2, 0.5, 0.7, 0.9])
def test_sparse_dbscan_equals_dense(eps):
    generator = np.random.default_rng(3)
    centers = generator.standard_normal((12, 6))
    features = centers[generator.integers(0, 12, 200)] + 0.4 * generator.standard_normal((200, 6))
    features = (features / np.linalg.norm(features, axis=1, keepdims=True)).astype(np.float32)
    distance = jaccard_distance(torch.from_numpy(features), 12, 4)
    expected = DBSCAN(eps=eps, min_samples=4, metric="precomputed").fit(dense(distance)).labels_
    np.testing.assert_array_equal(dbscan(distance, eps).ids, expected)


def test_pseudo_labels_normalises():
    features = torch.randn(50, 8, generator=torch.Generator().manual_seed(0))
    scaled = features * torch.linspace(0.1, 9, 50)[:, None]
    np.testing.assert_array_equal(pseudo_labels(features, eps=0.6).ids, pseudo_labels(scaled, eps=0.6).ids)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="NaN"):
        nearest_neighbors(torch.full((4, 2), float("nan")), 2)
    with pytest.raises(ValueError, match="--eps"):
        pseudo_labels(torch.randn(8, 4), eps=1.0)
    with pytest.raises(ValueError, match="--k1"):
        jaccard_distance(torch.randn(8, 4), 0, 6)
    with pytest.raises(ValueError, match="non-empty"):
        nearest_neighbors(torch.zeros(0, 4), 2)


@pytest.mark.parametrize("backend", ["torch", "faiss"])
def test_an_image_leads_its_own_list_among_duplicates(backend):
    """Forty copies of each of three points: rounding may not decide that an image has no neighbour at all."""
    points = torch.nn.functional.normalize(torch.randn(3, 24, generator=torch.Generator().manual_seed(1)))
    features = points.repeat_interleave(40, 0) + 1e-8
    ranks = nearest_neighbors(features, 10, backend=backend)
    assert (ranks[:, 0] == np.arange(120)).all()
    assert all(len(set(row)) == 10 and (row // 40 == i // 40).all() for i, row in enumerate(ranks))
    distance = jaccard_distance(features, 10, 3, backend=backend)
    assert np.isfinite(distance.data).all() and (distance.data >= 0).all()
