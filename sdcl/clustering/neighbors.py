"""Exact k nearest neighbours, chunked, on the device of the features.

N images, D dimensions, k neighbours, c rows of one strip.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

BACKENDS = ("torch", "faiss")
HOST_BYTES = 2**29  # of distances held at once on the host
MIN_STRIP, MAX_STRIP = 128, 2048  # rows; merging the lists of narrow strips would cost more than the products


def nearest_neighbors(features: Tensor, k: int, *, backend: str = "torch", chunk: int | None = None) -> np.ndarray:
    """Ranks of the k images nearest to each image by squared Euclidean distance, the image itself first.

    Args:
        features: float32 (N, D), any norm.
        k: list length; cut to N when there are fewer images.
        backend: "torch" (any device) or "faiss" (flat L2 index, exact too; on a CPU, when installed).
        chunk: rows of the distance matrix held at once; None fits them to the memory.

    Returns:
        int64 (N, min(k, N)), nearest first.

    Raises:
        ValueError: features are not a finite matrix, or faiss is asked for and is not installed.
    """
    return rank_lists(features, k, backend=backend, chunk=chunk).cpu().numpy()


def rank_lists(features: Tensor, k: int, *, backend: str = "torch", chunk: int | None = None) -> Tensor:
    """`nearest_neighbors` as an int64 tensor that stays on the device of the features."""
    if features.ndim != 2 or len(features) == 0:
        raise ValueError(f"features must be a non-empty (N, D) matrix, got shape {tuple(features.shape)}")
    if not bool(torch.isfinite(features).all()):
        raise ValueError("features hold NaN or infinite values: the model diverged; lower --lr or use --precision fp32")
    k = min(k, len(features))
    if backend == "faiss":
        return _faiss_lists(features, k)
    if backend != "torch":
        raise ValueError(f"--knn must be one of {BACKENDS}, got {backend!r}")
    with exact_float32(features.device):
        return _torch_lists(features.float(), k, chunk or _strip_rows(features))


@contextmanager
def exact_float32(device: torch.device) -> Iterator[None]:
    """Products in full float32, whatever precision the training around has chosen."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


def _strip_rows(features: Tensor) -> int:
    """Rows of a strip: its products and their transposed copy take a quarter of what is free on a GPU."""
    budget = HOST_BYTES
    if features.device.type == "cuda":
        budget = torch.cuda.mem_get_info(features.device)[0] // 4
    return min(MAX_STRIP, max(MIN_STRIP, budget // (8 * len(features))))


def _torch_lists(features: Tensor, k: int, chunk: int) -> Tensor:
    """Each product x_i.x_j is computed once and offered to both lists: half of the N x N matrix is never computed."""
    count = len(features)
    squared = features.square().sum(1)  # (N,)
    best = torch.full((count, k), torch.inf, device=features.device)
    ranks = torch.zeros(count, k, dtype=torch.long, device=features.device)
    buffers = [torch.empty(min(chunk, count) * count, device=features.device) for _ in range(2)]  # paged in once
    for first in range(0, count, chunk):
        last = min(first + chunk, count)
        strip, width = last - first, count - first
        product = buffers[0][: strip * width].view(strip, width)
        torch.mm(features[first:last], features[first:].T, out=product).mul_(-2)  # -2 x_i.x_j
        if last < count:
            distance = buffers[1][: strip * (count - last)].view(count - last, strip)
            distance.copy_(product[:, strip:].T).add_(squared[first:last])  # less |x_j|^2, the same for the whole list of j
            _merge(best[last:], ranks[last:], distance, first)
        distance = product.add_(squared[first:])
        distance.diagonal().fill_(-torch.inf)  # an image is its own nearest, also among duplicates
        _merge(best[first:last], ranks[first:last], distance, first)
    return ranks


def _merge(best: Tensor, ranks: Tensor, distance: Tensor, first: int) -> None:
    """Offer the images first, first + 1, ... at `distance` (n, w) to the sorted lists best, ranks (n, k), in place."""
    k = best.shape[1]
    near = distance.topk(min(k, distance.shape[1]), largest=False)
    kept = torch.cat((best, near.values), 1).topk(k, largest=False)
    ranks.copy_(torch.cat((ranks, near.indices + first), 1).gather(1, kept.indices))
    best.copy_(kept.values)


def _faiss_lists(features: Tensor, k: int) -> Tensor:
    if importlib.util.find_spec("faiss") is None:
        raise ValueError("--knn faiss needs faiss: pip install 'sdcl[faiss]', or use --knn torch")
    import faiss

    array = np.ascontiguousarray(features.float().cpu().numpy())
    index = faiss.IndexFlatL2(array.shape[1])
    index.add(array)
    found = torch.from_numpy(index.search(array, k)[1])
    return _own_first(found).to(features.device)


def _own_first(ranks: Tensor) -> Tensor:
    """Each image to the front of its list, where duplicates at the same distance may have pushed it back or out."""
    own = torch.arange(len(ranks))[:, None]
    others = (ranks == own).to(torch.int8).sort(dim=1, stable=True).indices  # the image's own place goes last
    return torch.cat((own, ranks.gather(1, others)[:, :-1]), 1)
