"""Search through faiss: inverted lists, their settings, and the GPU part as far as a CPU can imitate it.

The imitation shows which calls reach the GPU part, with which tensors, and what is made of its answers. It
cannot show that faiss's GPU code gives these answers, that its stream waits for PyTorch's, that CUDA 12
libraries of faiss live beside those of PyTorch in one process, or how much memory and time any of it takes.
"""

import types

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from sdcl.clustering import joint_pseudo_labels, nearest_neighbors, neighbors_faiss, pseudo_labels
from sdcl.clustering.modality_aware import nearest_of_each_modality
from sdcl.clustering.neighbors_faiss import InvertedLists, approximation, nearest, notes
from sdcl.runtime.errors import SettingError

faiss = pytest.importorskip("faiss", reason="faiss is an extra; the torch search is the default")


def crowds(count=1200, centres=24, seed=0):
    """Unit rows (count, 16) around some centres."""
    generator = torch.Generator().manual_seed(seed)
    points = torch.randn(centres, 16, generator=generator)[torch.arange(count) % centres]
    return torch.nn.functional.normalize(points + 0.3 * torch.randn(count, 16, generator=generator))


@pytest.mark.parametrize("inner_product", [False, True])
def test_all_lists_probed_would_be_exact(inner_product):
    """With every list but one probed hardly anything is missed; with all of them nothing."""
    rows = crowds()
    _, exact = nearest(rows, rows, 10, "faiss", inner_product=inner_product)
    for probes, misses in ((23, 0.01), (24, 0.0), (99, 0.0)):
        _, ids = nearest(rows, rows, 10, str(InvertedLists(24, probes)), inner_product=inner_product)
        missed = np.mean([len(set(a) - set(b)) / 10 for a, b in zip(exact.tolist(), ids.tolist())])
        assert missed <= misses


def test_few_probes_miss_some_neighbours_but_no_label():
    rows = crowds()
    exact, found = (nearest_neighbors(rows, 30, backend=b) for b in ("torch", "faiss-ivf:lists=30,probes=2"))
    recall = np.mean([len(set(a) & set(b)) / 30 for a, b in zip(exact.tolist(), found.tolist())])
    assert 0.9 < recall < 1
    labels = [pseudo_labels(rows, eps=0.6, backend=b).ids for b in ("torch", "faiss-ivf:lists=30,probes=2")]
    np.testing.assert_array_equal(*labels)


def test_equal_features_give_equal_lists():
    rows = crowds()
    first, second = (nearest_neighbors(rows, 20, backend="faiss-ivf:lists=30,probes=2") for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_lists_are_full_where_the_probed_lists_are_short(monkeypatch):
    """k is longer than most inverted lists: faiss gives -1, and these queries are searched exactly."""
    rows = crowds()
    exact = nearest_neighbors(rows, 60, backend="faiss")
    found = nearest_neighbors(rows, 60, backend="faiss-ivf:lists=30,probes=1")
    assert (found >= 0).all() and all(len(set(row)) == 60 for row in found.tolist())
    monkeypatch.setattr(
        neighbors_faiss._Cpu,
        "flat",
        lambda _, images, queries, k, metric: (torch.tensor(torch.nan), torch.tensor(-7)),
    )
    refilled = (nearest(rows, rows, 60, "faiss-ivf:lists=30,probes=1")[1] == -7).all(1).numpy()
    assert 0 < refilled.sum() < len(rows)
    np.testing.assert_array_equal(found[refilled], exact[refilled])


def test_each_modality_has_its_own_inverted_lists():
    """Exact with all lists probed; with one of them complete, and of the right modality."""
    rows = crowds()
    for (expected, _), (found, images), side in zip(
        nearest_of_each_modality(rows, 700, 9, backend="faiss"),
        nearest_of_each_modality(rows, 700, 9, backend="faiss-ivf:lists=12,probes=1"),
        ((0, 700), (700, 1200)),
    ):
        assert (images >= side[0]).all() and (images < side[1]).all()
        assert (found <= expected + 1e-6).all() and torch.isfinite(found).all()
        assert (rows @ rows.T).gather(1, images).sub(found).abs().max() < 1e-5
    exact, approximate = (
        joint_pseudo_labels(rows[:700], rows[700:], eps=0.6, backend=b).ids
        for b in ("torch", "faiss-ivf:lists=12,probes=6")
    )
    np.testing.assert_array_equal(exact, approximate)


def test_number_of_lists():
    assert InvertedLists().lists_of(100_000) == 1265  # four times the square root
    assert InvertedLists().lists_of(3_900) == 100  # 39 images a list
    assert InvertedLists().lists_of(5) == 1
    assert InvertedLists(30).lists_of(1170) == 30
    with pytest.raises(SettingError, match=r"--knn-lists 31 needs 1,209 images.* 1,200 are searched: lower"):
        nearest_neighbors(crowds(), 5, backend=str(InvertedLists(31, 2)))


@pytest.mark.parametrize("name", ["faiss-ivf:lists=3", "faiss-ivf:lists=3,probes=0", "faiss:probes=3"])
def test_other_spellings_are_refused(name):
    with pytest.raises(SettingError, match="is called faiss-ivf:lists=0,probes="):
        nearest_neighbors(crowds(), 5, backend=name)


def test_only_an_approximate_search_is_reported():
    assert approximation("torch") == approximation("faiss") == []
    (sentence,) = approximation("faiss-ivf:lists=0,probes=9")
    assert "approximate" in sentence and "probes=9" in sentence


def test_missing_faiss_is_named(monkeypatch):
    monkeypatch.setattr(neighbors_faiss.importlib.util, "find_spec", lambda name: None)
    for call in (
        lambda: nearest_neighbors(crowds(), 5, backend="faiss-ivf"),
        lambda: nearest_of_each_modality(crowds(), 700, 5, backend="faiss"),
        lambda: notes("faiss", torch.device("cpu")),
    ):
        with pytest.raises(SettingError, match=r"sdcl\[faiss\]"):
            call()
    assert notes("torch", torch.device("cpu")) == []


# ------------------------------------------------------------------ the GPU part


class GpuFaiss(types.SimpleNamespace):
    """faiss with the names of its GPU part,
    which compute on tensors wherever they are, and note their calls.
    """

    METRIC_L2, METRIC_INNER_PRODUCT = faiss.METRIC_L2, faiss.METRIC_INNER_PRODUCT

    def __init__(self):
        super().__init__(calls=[], StandardGpuResources=lambda: "resources", get_num_gpus=lambda: 1)
        self.GpuIndexIVFFlatConfig = types.SimpleNamespace
        self.GpuIndexIVFFlat = lambda *arguments: InvertedOnGpu(self.calls, *arguments)

    def knn_gpu(self, resources, queries, images, k, *, metric, device):
        self.calls.append(("knn_gpu", queries.device, images.device, device))
        product = queries @ images.T
        if metric == self.METRIC_INNER_PRODUCT:
            return product.topk(k)
        distance = queries.square().sum(1, keepdim=True) - 2 * product + images.square().sum(1)
        return distance.topk(k, largest=False)


class InvertedOnGpu:
    """As GpuIndexIVFFlat with tensors: the settings are kept, the lists are those of the CPU index."""

    def __init__(self, calls, resources, dimensions, lists, metric, config):
        self.calls, self.config = calls, config
        flat = faiss.IndexFlat(dimensions, metric)
        self.index = faiss.IndexIVFFlat(flat, dimensions, lists, metric)
        self.cp, self.flat = self.index.cp, flat

    def train(self, images):
        assert isinstance(images, torch.Tensor) and images.is_contiguous()
        self.calls.append(("train", self.config.device, self.nprobe, self.cp.seed))
        self.index.nprobe = self.nprobe
        self.index.train(images.numpy())

    def add(self, images):
        self.index.add(images.numpy())

    def search(self, queries, k):
        assert isinstance(queries, torch.Tensor)
        return tuple(map(torch.from_numpy, self.index.search(queries.numpy(), k)))


@pytest.fixture
def gpu_faiss(monkeypatch):
    """The imitation in the place of faiss, and every tensor taken for one on a GPU."""
    imitation, prepared = GpuFaiss(), []
    monkeypatch.setattr(neighbors_faiss, "load", lambda: imitation)
    monkeypatch.setattr(neighbors_faiss, "_on_gpu", lambda features: True)
    monkeypatch.setattr(neighbors_faiss, "_accept_tensors", lambda: prepared.append(True))
    yield imitation
    assert prepared  # faiss refuses tensors without


def test_gpu_lists_are_those_of_torch(gpu_faiss):
    rows = crowds()
    np.testing.assert_array_equal(
        nearest_neighbors(rows, 12, backend="faiss"), nearest_neighbors(rows, 12, backend="torch")
    )
    for found, expected in zip(
        nearest_of_each_modality(rows, 700, 9, backend="faiss"), nearest_of_each_modality(rows, 700, 9)
    ):
        assert torch.equal(found[1], expected[1])
    assert [call[0] for call in gpu_faiss.calls] == ["knn_gpu"] * 3


def test_gpu_inverted_lists_are_set_up_as_those_of_the_cpu(gpu_faiss, monkeypatch):
    rows = crowds()
    found = nearest_neighbors(rows, 60, backend="faiss-ivf:lists=30,probes=2")
    assert gpu_faiss.calls[0] == ("train", 0, 2, neighbors_faiss.SEED)
    assert [call[0] for call in gpu_faiss.calls[1:]] == ["knn_gpu"]  # of the queries with short lists
    monkeypatch.setattr(neighbors_faiss, "load", lambda: faiss)
    monkeypatch.setattr(neighbors_faiss, "_on_gpu", lambda features: False)
    np.testing.assert_array_equal(found, nearest_neighbors(rows, 60, backend="faiss-ivf:lists=30,probes=2"))


def test_features_stay_on_their_gpu(monkeypatch):
    """Tensors without storage on a second GPU: a copy to the CPU would show in the devices of the call."""
    imitation = GpuFaiss()
    monkeypatch.setattr(neighbors_faiss, "load", lambda: imitation)
    monkeypatch.setattr(neighbors_faiss, "_accept_tensors", lambda: None)
    with FakeTensorMode():
        rows = torch.empty(50, 8, device="cuda:1")
        values, ids = nearest(rows, rows, 4, "faiss")
    assert imitation.calls == [("knn_gpu", rows.device, rows.device, 1)]
    assert str(values.device) == str(ids.device) == "cuda:1" and ids.dtype == torch.int64


def test_without_a_gpu_part_the_cpu_searches_and_the_log_says_so(monkeypatch):
    """The installed package decides; lists longer than faiss's GPU code takes go to the CPU as well."""
    cuda = torch.device("cuda")
    monkeypatch.setattr(neighbors_faiss, "has_gpu_part", lambda module: False)
    (sentence,) = notes("faiss", cuda)
    assert "searches on the CPU" in sentence and "sdcl[faiss-gpu]" in sentence
    assert len(notes("faiss-ivf", cuda)) == 2 and notes("faiss", torch.device("cpu")) == []
    monkeypatch.setattr(neighbors_faiss, "_on_gpu", lambda features: True)
    rows = crowds(60)
    expected = nearest_neighbors(rows, 5)
    np.testing.assert_array_equal(nearest_neighbors(rows, 5, backend="faiss"), expected)
    monkeypatch.setattr(neighbors_faiss, "has_gpu_part", lambda module: True)
    assert notes("faiss", cuda) == []
    monkeypatch.setattr(neighbors_faiss, "MAX_GPU_K", 4)
    np.testing.assert_array_equal(nearest_neighbors(rows, 5, backend="faiss"), expected)
