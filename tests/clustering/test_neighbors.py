"""Neighbour lists against brute force, in strips, in shards, and among duplicates."""

import numpy as np
import pytest
import torch
from helpers.brute_force import degenerate, squared_distances

from sdcl.clustering import jaccard_distance, nearest_neighbors, neighbors, neighbors_gpu
from sdcl.runtime.work_sharing import alone, sharing_through

SEARCHES = [("torch", None), ("torch", 1), ("torch", 7), ("torch", 64), ("faiss", None), ("faiss-ivf", None)]


@pytest.mark.parametrize("backend,chunk", SEARCHES)
@pytest.mark.parametrize("name", ["random", "duplicates", "crowd", "norms", "zeros", "5"])
def test_neighbors_are_the_nearest(backend, chunk, name):
    """The distances of a list are the k smallest ones, the image itself comes first, no image twice."""
    if backend.startswith("faiss"):
        pytest.importorskip("faiss", reason="faiss is an extra; the torch search is the default")
    array = degenerate(name)
    ranks = nearest_neighbors(torch.from_numpy(array), 12, backend=backend, chunk=chunk)
    distance = squared_distances(array)
    np.testing.assert_allclose(
        np.take_along_axis(distance, ranks, 1), np.sort(distance, 1)[:, :12], atol=2e-5
    )
    np.testing.assert_array_equal(ranks[:, 0], np.arange(len(array)))
    assert all(len(set(row)) == len(row) for row in ranks.tolist())


@pytest.mark.parametrize("form", ["cpu", "gpu"])
@pytest.mark.parametrize("shards", [1, 2, 5])
@pytest.mark.parametrize("chunk", [16, 40, 400])
def test_shards_make_the_lists_of_one_process(monkeypatch, form, shards, chunk):
    """Also when a shard has no strip at all. The GPU form runs on the CPU here."""
    features = torch.randn(333, 6, generator=torch.Generator().manual_seed(2))
    expected = nearest_neighbors(features, 11, chunk=chunk)
    if form == "gpu":
        monkeypatch.setattr(neighbors, "neighbors_cpu", neighbors_gpu)
    lists = [neighbors.partial_lists(features, 11, chunk, shard, shards) for shard in range(shards)]
    np.testing.assert_array_equal(neighbors.merge_lists(lists), expected)


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("name", ["integers", "crowd", "zeros"])
def test_of_equally_distant_images_the_first_is_listed(shards, name):
    """Whole numbers have exact distances: the order is that of (distance, image), the image itself first."""
    high = {"integers": 4, "crowd": 2, "zeros": 1}[name]
    array = np.random.default_rng(1).integers(0, high, (60, 4)).astype(np.float32)
    distance = squared_distances(array) - 1e3 * np.eye(60)
    lists = [neighbors.partial_lists(torch.from_numpy(array), 9, 7, shard, shards) for shard in range(shards)]
    expected = np.argsort(distance.round(), axis=1, kind="stable")[:, :9]
    np.testing.assert_array_equal(neighbors.merge_lists(lists), expected)


def test_the_share_argument_decides_who_computes():
    """The default follows the surrounding `sharing_through`; `alone` ignores it."""
    features, shards = torch.randn(90, 5, generator=torch.Generator().manual_seed(4)), 3
    jobs = []

    def in_three(work, rows, *arguments):
        jobs.append(work)
        return [work(rows, *arguments, shard, shards) for shard in range(shards)]

    expected = nearest_neighbors(features, 7, chunk=10)
    with sharing_through(in_three):
        np.testing.assert_array_equal(nearest_neighbors(features, 7, chunk=10), expected)
        np.testing.assert_array_equal(nearest_neighbors(features, 7, chunk=10, share=alone), expected)
        jaccard_distance(features, 7, 3)
        jaccard_distance(features, 7, 3, share=alone)
    assert jobs == [neighbors.partial_lists] * 2
    np.testing.assert_array_equal(nearest_neighbors(features, 7, chunk=10, share=in_three), expected)


def test_neighbors_ignore_the_precision_of_the_surrounding_training():
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


@pytest.mark.parametrize("backend", ["torch", "faiss", "faiss-ivf"])
def test_an_image_leads_its_own_list_among_duplicates(backend):
    """Forty copies of each of three points: rounding may not decide that an image has no neighbour at all."""
    if backend.startswith("faiss"):
        pytest.importorskip("faiss", reason="faiss is an extra; the torch search is the default")
    points = torch.nn.functional.normalize(torch.randn(3, 24, generator=torch.Generator().manual_seed(1)))
    features = points.repeat_interleave(40, 0) + 1e-8
    ranks = nearest_neighbors(features, 10, backend=backend)
    assert (ranks[:, 0] == np.arange(120)).all()
    assert all(len(set(row)) == 10 and (row // 40 == i // 40).all() for i, row in enumerate(ranks))
    distance = jaccard_distance(features, 10, 3, backend=backend)
    assert np.isfinite(distance.data).all() and (distance.data >= 0).all()


def test_bad_input_is_refused():
    for bad in ("nan", "inf", "-inf"):
        features = torch.ones(4, 2)
        features[2, 1] = float(bad)
        with pytest.raises(ValueError, match="NaN or infinite"):
            nearest_neighbors(features, 2)
    with pytest.raises(ValueError, match="non-empty"):
        nearest_neighbors(torch.zeros(0, 4), 2)
    with pytest.raises(ValueError, match="--knn"):
        nearest_neighbors(torch.zeros(3, 4), 2, backend="annoy")
