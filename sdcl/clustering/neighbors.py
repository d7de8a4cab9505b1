"""k nearest neighbours by squared Euclidean distance, exact and in strips, on the device of the features.

The N x N matrix of products is computed strip by strip and only above its diagonal: each product enters the
lists of both of its images (`neighbors_cpu.py`, `neighbors_gpu.py`). Ranks that wait in `once` compute strips
as well, see `sdcl.runtime.work_sharing`. faiss is the other engine, exact or
approximate (`neighbors_faiss.py`).

Legend: N images, D dimensions, k entries of a list.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from sdcl.clustering import neighbors_cpu, neighbors_faiss, neighbors_gpu
from sdcl.runtime.errors import SettingError
from sdcl.runtime.validation import as_features, require_finite
from sdcl.runtime.work_sharing import Share, with_idle_ranks

BACKENDS = ("torch", *neighbors_faiss.ENGINES)
CPU_BYTES = 2**29  # of the products held at once in main memory
MIN_STRIP, MAX_STRIP = 128, 2048  # rows; merging the lists of narrow strips would cost more than the products
MERGED_ROWS = 2**16  # rows that are squared, or whose partial lists are merged, at once


def nearest_neighbors(
    features: Tensor,
    k: int,
    *,
    backend: str = "torch",
    chunk: int | None = None,
    share: Share = with_idle_ranks,
) -> np.ndarray:
    """Ranks of the k images nearest to each image by squared Euclidean distance, the image itself first.

    Args:
        features: float32 (N, D), any norm.
        k: list length; cut to N when there are fewer images.
        backend: "torch", "faiss" (flat index, exact too), or "faiss-ivf" (inverted lists, approximate, also
            with its settings: a string of `neighbors_faiss.InvertedLists`). faiss is an optional dependency
            and searches on the GPU if it has a GPU part, else on the CPU.
        chunk: rows of the distance matrix held at once; None chooses them by the available memory.
        share: who computes the strips of the "torch" backend. The default lets ranks that wait in `once` take
            part, which makes the call a collective operation there; outside of `once` it is the same as
            `work_sharing.alone`. The lists do not depend on it.

    Returns:
        int64 (N, min(k, N)), nearest first.

    Raises:
        ValueError: features are not a non-empty matrix, or k is below 1.
        SettingError: the backend is unknown or not installed, or there are too few images for its lists.
        TrainingError: features are not finite.
        RuntimeError: another rank failed at its strips.
    """
    features = as_features("features", features)
    return rank_lists(features, k, backend=backend, chunk=chunk, share=share).cpu().numpy()


@torch.no_grad()
def rank_lists(
    features: Tensor,
    k: int,
    *,
    backend: str = "torch",
    chunk: int | None = None,
    share: Share = with_idle_ranks,
) -> Tensor:
    """`nearest_neighbors` as an int64 tensor on the device of the features.

    Arguments, errors and the sharing of work as there, with features already float32 (N, D).
    """
    if k < 1:
        raise ValueError(f"a list of neighbours has at least one entry, got k = {k}")
    require_finite(features)
    k = min(k, len(features))
    if neighbors_faiss.is_faiss(backend):
        return _with_image_first(neighbors_faiss.nearest(features, features, k, backend)[1])
    if backend != "torch":
        raise SettingError(f"--knn must be one of {BACKENDS}, got {backend!r}")
    return merge_lists(share(partial_lists, features, k, chunk or strip_rows(features)))


@contextmanager
def exact_float32(device: torch.device) -> Iterator[None]:
    """Compute matrix products in full float32, whatever precision the surrounding training uses."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


def strip_rows(features: Tensor) -> int:
    """Rows of a strip: its products and their transposed copy take a quarter of the free memory of a GPU."""
    budget = CPU_BYTES
    if features.device.type == "cuda":
        budget = torch.cuda.mem_get_info(features.device)[0] // 4
    return min(MAX_STRIP, max(MIN_STRIP, budget // (8 * len(features))))


def partial_lists(
    features: Tensor, k: int, chunk: int, shard: int = 0, shards: int = 1
) -> tuple[Tensor, Tensor]:
    """Partial rank lists from one shard's strips of `chunk` rows of the product matrix.

    Each product enters the lists of its row and of its column. Strips at the top of the matrix are wide,
    those at the bottom narrow: shards take turns in alternating order, so that all have about the same work.

    Returns:
        float32 (N, k), |x_j|^2 - 2 x_i.x_j of the listed images, ascending, infinite where the list has an
        empty entry. int64 (N, k), the listed images.
    """
    count, kernels = len(features), neighbors_cpu if features.device.type == "cpu" else neighbors_gpu
    squared = torch.cat([part.square().sum(1) for part in features.split(MERGED_ROWS)])  # (N,)
    best = torch.full((count, k), torch.inf, device=features.device)
    ranks = torch.zeros(count, k, dtype=torch.long, device=features.device)
    buffer = torch.empty(min(chunk, count) * count, device=features.device)  # allocated once for all strips
    with exact_float32(features.device):
        for strip, first in enumerate(range(0, count, chunk)):
            if strip % (2 * shards) in (shard, 2 * shards - 1 - shard):
                rows, width = min(chunk, count - first), count - first
                out = buffer[: rows * width].view(rows, width)
                product = torch.mm(features[first : first + rows], features[first:].T, out=out)
                kernels.merge_products(best, ranks, product, squared, first)
    return best, ranks


def merge_lists(shards: Sequence[tuple[Tensor, ...]]) -> Tensor:
    """Rank lists (N, k) from the `partial_lists` of all shards. Of equally distant images the first stays."""
    if len(shards) == 1:
        return shards[0][1]
    k, lists = shards[0][1].shape[1], []
    for columns in zip(*(zip(best.split(MERGED_ROWS), ranks.split(MERGED_ROWS)) for best, ranks in shards)):
        best, ranks = (torch.cat(column, 1) for column in zip(*columns))
        order = ranks.argsort(1)
        order = order.gather(1, best.gather(1, order).argsort(stable=True, dim=1))[:, :k]
        lists.append(ranks.gather(1, order))
    return torch.cat(lists)


def _with_image_first(ranks: Tensor) -> Tensor:
    """Move each image to the front of its list, if duplicates at the same distance pushed it back or out."""
    image = torch.arange(len(ranks), device=ranks.device)[:, None]
    # the position of the image goes last
    others = (ranks == image).to(torch.int8).sort(dim=1, stable=True).indices
    return torch.cat((image, ranks.gather(1, others)[:, :-1]), 1)
