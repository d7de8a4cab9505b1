"""Neighbour lists through faiss: flat (exact) and inverted lists (approximate),
on the device of the features.

Inverted lists: k-means parts the images into lists, and a query is compared with the images of the lists
whose centroids are nearest to it. Johnson, Douze, Jegou, Billion-scale similarity search with GPUs, IEEE
Transactions on Big Data 2021, https://arxiv.org/abs/1702.08734.

Legend: M images that are searched, n queries, D dimensions, k entries of a list.
"""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass
from math import sqrt
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sdcl.runtime.errors import SettingError

FLAT, INVERTED = "faiss", "faiss-ivf"
ENGINES = (FLAT, INVERTED)
PROBES = 32  # lists that a query is compared with
IMAGES_PER_LIST = 39  # the fewest from which faiss learns a centroid without a warning
TRAINED_PER_LIST = 64  # images from which a centroid is learned, at most
ROUNDS = 10  # of k-means
SEED = 1234  # of k-means; no setting: equal features are to give equal lists
MAX_GPU_K = 2048  # longest list, and most probes, that faiss searches on a GPU


@dataclass(frozen=True)
class InvertedLists:
    """Settings of the approximate search.

    Args:
        lists: number of inverted lists; 0: four times the square root of M, with `IMAGES_PER_LIST` images
            in each on average at least. probes: lists that a query is compared with; with all of them the
            search is exact.
    """

    lists: int = 0
    probes: int = PROBES

    def __str__(self) -> str:
        """The name under which `nearest_neighbors` and the others know this search."""
        return f"{INVERTED}:lists={self.lists},probes={self.probes}"

    def lists_of(self, images: int) -> int:
        """Number of lists for so many images.

        Raises:
            SettingError: too few images for the number that was chosen.
        """
        if not self.lists:
            return max(1, min(round(4 * sqrt(images)), images // IMAGES_PER_LIST))
        if images < IMAGES_PER_LIST * self.lists:
            raise SettingError(
                f"--knn-lists {self.lists} needs {IMAGES_PER_LIST * self.lists:,} images, {IMAGES_PER_LIST} "
                f"a list, and {images:,} are searched: lower --knn-lists (0: by the number of images), or "
                "search exactly with --knn torch"
            )
        return self.lists


def is_faiss(backend: str) -> bool:
    """Whether the name of a search begins with one of `ENGINES`."""
    return backend.split(":")[0] in ENGINES


def inverted_lists(backend: str) -> InvertedLists | None:
    """Settings in the name of an approximate search, "faiss-ivf" or
    "faiss-ivf:lists=L,probes=P"; None: exact.

    Raises:
        SettingError: another spelling, or numbers out of range.
    """
    if backend == FLAT:
        return None
    if backend == INVERTED:
        return InvertedLists()
    numbers = re.fullmatch(INVERTED + r":lists=(\d+),probes=([1-9]\d*)", backend)
    if not numbers:
        raise SettingError(f"a search by inverted lists is called {InvertedLists()}, got {backend!r}")
    return InvertedLists(*map(int, numbers.groups()))


def load() -> ModuleType:
    """The faiss package. Raises SettingError where it is missing."""
    if importlib.util.find_spec("faiss") is None:
        raise SettingError(
            "--knn faiss and faiss-ivf need faiss: pip install 'sdcl[faiss]' (with a GPU: 'sdcl[faiss-gpu]' "
            "in its place), or use --knn torch"
        )
    import faiss

    return faiss


def has_gpu_part(faiss: ModuleType) -> bool:
    """Whether this faiss was built for GPUs and sees one."""
    return hasattr(faiss, "StandardGpuResources") and faiss.get_num_gpus() > 0


def approximation(backend: str) -> list[str]:
    """The sentence that readers of a result need if its search was approximate; empty for an exact one."""
    if not is_faiss(backend) or not inverted_lists(backend):
        return []
    return [f"pseudo-labels from approximate neighbours, {backend}; --knn torch is exact"]


def notes(backend: str, device: torch.device) -> list[str]:
    """What a log has to say of this search: that it is approximate, that it leaves the GPU `device`.

    Raises:
        SettingError: faiss is missing.
    """
    if not is_faiss(backend):
        return []
    lines, faiss = approximation(backend), load()
    if device.type == "cuda" and not has_gpu_part(faiss):
        lines.append(
            f"--knn {backend.split(':')[0]} searches on the CPU: the installed faiss has no GPU part or sees "
            "no GPU; pip uninstall faiss-cpu, then pip install 'sdcl[faiss-gpu]'"
        )
    return lines


def nearest(
    images: Tensor, queries: Tensor, k: int, backend: str, *, inner_product: bool = False
) -> tuple[Tensor, Tensor]:
    """The k nearest images to each query, nearest first.

    Features on a GPU are searched there if faiss has a GPU part, and copied to the CPU if not. Every list is
    full: where the probed lists hold fewer than k images, the query is searched exactly. Of equally near
    images any may come first, or be listed at all.

    Args:
        images: float32 (M, D), M at least k. queries: float32 (n, D) on the
            same device, finite as the images.
        backend: "faiss", "faiss-ivf" or a string of `InvertedLists`.
        inner_product: compare by dot product, the largest first, in the place of squared Euclidean distance.

    Returns:
        Squared distance or dot product, float32 (n, k); images, int64 (n, k).

    Raises:
        SettingError: faiss is missing, the name is unknown, or there are too few images for --knn-lists.
    """
    settings, faiss = inverted_lists(backend), load()
    longest = max(k, settings.probes if settings else 0)
    on_gpu = _on_gpu(images) and has_gpu_part(faiss) and longest <= MAX_GPU_K
    engine = _Gpu(faiss, images.device.index or 0) if on_gpu else _Cpu(faiss)
    images, queries = images.contiguous(), queries.contiguous()
    metric = faiss.METRIC_INNER_PRODUCT if inner_product else faiss.METRIC_L2
    lists = settings.lists_of(len(images)) if settings else 1
    if not settings or settings.probes >= lists:
        return engine.flat(images, queries, k, metric)
    values, ids = engine.inverted(images, queries, k, metric, lists, settings.probes)
    short = (ids < 0).any(1).nonzero()[:, 0]  # faiss fills a list with -1
    if len(short):
        values[short], ids[short] = engine.flat(images, queries[short], k, metric)
    return values, ids


def _on_gpu(features: Tensor) -> bool:
    return features.device.type == "cuda"


class _Cpu:
    """faiss's indexes on arrays; features on a GPU are copied, and the lists go back to them."""

    def __init__(self, faiss: ModuleType):
        self.faiss = faiss

    def flat(self, images: Tensor, queries: Tensor, k: int, metric: int) -> tuple[Tensor, Tensor]:
        index = self.faiss.IndexFlat(images.shape[1], metric)
        index.add(_array(images))
        return self._search(index, queries, k)

    def inverted(
        self, images: Tensor, queries: Tensor, k: int, metric: int, lists: int, probes: int
    ) -> tuple[Tensor, Tensor]:
        centroids = self.faiss.IndexFlat(images.shape[1], metric)
        index = self.faiss.IndexIVFFlat(centroids, images.shape[1], lists, metric)
        array = _array(images)
        _prepare(index, probes)
        index.train(array)
        index.add(array)
        return self._search(index, queries, k)

    def _search(self, index: Any, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        values, ids = (torch.from_numpy(a).to(queries.device) for a in index.search(_array(queries), k))
        return values, ids


class _Gpu:
    """faiss's GPU indexes on tensors of GPU `device`, which stay where they are."""

    def __init__(self, faiss: ModuleType, device: int):
        _accept_tensors()
        self.faiss, self.device = faiss, device
        self.resources = faiss.StandardGpuResources()

    def flat(self, images: Tensor, queries: Tensor, k: int, metric: int) -> tuple[Tensor, Tensor]:
        return self.faiss.knn_gpu(self.resources, queries, images, k, metric=metric, device=self.device)

    def inverted(
        self, images: Tensor, queries: Tensor, k: int, metric: int, lists: int, probes: int
    ) -> tuple[Tensor, Tensor]:
        config = self.faiss.GpuIndexIVFFlatConfig()
        config.device = self.device
        index = self.faiss.GpuIndexIVFFlat(self.resources, images.shape[1], lists, metric, config)
        _prepare(index, probes)
        index.train(images)
        index.add(images)
        return index.search(queries, k)


def _accept_tensors() -> None:
    """Let faiss take tensors, and wait for the stream of PyTorch where they are on a GPU."""
    import faiss.contrib.torch_utils  # noqa: F401


def _prepare(index: Any, probes: int) -> None:
    index.nprobe = probes
    index.cp.niter, index.cp.seed, index.cp.max_points_per_centroid = ROUNDS, SEED, TRAINED_PER_LIST


def _array(features: Tensor) -> np.ndarray:
    return np.ascontiguousarray(features.float().cpu().numpy())
