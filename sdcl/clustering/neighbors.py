"""Exact k nearest neighbours, chunked, on the device of the features, shared between the processes of a run.

The N x N matrix of products is made strip by strip and only above its diagonal: a product is offered to the lists of both images.
On a host the lists are kept by compiled loops (`host.py`), on a device by torch. N images, D dimensions, k neighbours.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from sdcl.clustering import jaccard_cpu
from sdcl.runtime.errors import SettingError, TrainingError
from sdcl.runtime.validation import as_features
from sdcl.runtime.work_sharing import in_parts

BACKENDS = ("torch", "faiss")
HOST_BYTES = 2**29  # of distances held at once on the host
MIN_STRIP, MAX_STRIP = 128, 2048  # rows; merging the lists of narrow strips would cost more than the products
MERGED = 2**16  # rows whose partial lists are joined at once


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


@torch.no_grad()
def rank_lists(features: Tensor, k: int, *, backend: str = "torch", chunk: int | None = None) -> Tensor:
    """`nearest_neighbors` as an int64 tensor that stays on the device of the features."""
    features = as_features("features", features)
    if k < 1:
        raise ValueError(f"a list of neighbours has at least one entry, got k = {k}")
    if not bool(torch.isfinite(features).all()):
        raise TrainingError("features hold NaN or infinite values: the model diverged; lower --lr or use --precision fp32")
    k = min(k, len(features))
    if backend == "faiss":
        return _faiss_lists(features, k)
    if backend != "torch":
        raise ValueError(f"--knn must be one of {BACKENDS}, got {backend!r}")
    return nearest_of(in_parts(partial_lists, features, k, chunk or _strip_rows(features)))


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


def partial_lists(features: Tensor, k: int, chunk: int, part: int = 0, parts: int = 1) -> tuple[Tensor, Tensor]:
    """What one of `parts` processes contributes to the lists: every product of its strips of `chunk` rows.

    A strip at the top is wide, one at the bottom narrow: they are dealt out to and fro, so that all have about the same work.

    Returns:
        float32 (N, k) distances less the square of the list's own image, ascending, infinite where nothing was found; int64 (N, k) images.
    """
    count, offer = len(features), jaccard_cpu.offer if features.device.type == "cpu" else device_offer
    squared = features.square().sum(1)  # (N,)
    best = torch.full((count, k), torch.inf, device=features.device)
    ranks = torch.zeros(count, k, dtype=torch.long, device=features.device)
    buffer = torch.empty(min(chunk, count) * count, device=features.device)  # paged in once
    with exact_float32(features.device):
        for strip, first in enumerate(range(0, count, chunk)):
            if strip % (2 * parts) in (part, 2 * parts - 1 - part):
                rows, width = min(chunk, count - first), count - first
                product = torch.mm(features[first : first + rows], features[first:].T, out=buffer[: rows * width].view(rows, width))
                offer(best, ranks, product, squared, first)
    return best, ranks


def device_offer(best: Tensor, ranks: Tensor, product: Tensor, squared: Tensor, first: int) -> None:
    """Offer x_i.x_j (rows, N - first) of the images i = first, ... and all j from there on to the lists of i and of j, in place."""
    distance, last = product.mul_(-2), first + len(product)
    if last < len(best):
        turned = distance[:, last - first :].T.contiguous().add_(squared[first:last])  # less |x_j|^2, the same for the whole list of j
        _merge(best[last:], ranks[last:], turned, first)
        del turned
    distance.add_(squared[first:])
    distance.diagonal().fill_(-torch.inf)  # an image is its own nearest, also among duplicates
    _merge(best[first:last], ranks[first:last], distance, first)


def _merge(best: Tensor, ranks: Tensor, distance: Tensor, first: int) -> None:
    """Offer the images first, first + 1, ... at `distance` (n, w) to the sorted lists best, ranks (n, k), in place."""
    k = best.shape[1]
    near = distance.topk(min(k, distance.shape[1]), largest=False)
    kept = torch.cat((best, near.values), 1).topk(k, largest=False)
    ranks.copy_(torch.cat((ranks, near.indices + first), 1).gather(1, kept.indices))
    best.copy_(kept.values)


def nearest_of(parts: list[tuple[Tensor, Tensor]]) -> Tensor:
    """The lists (N, k) that the processes' `partial_lists` make together. Of equally distant images the first stays."""
    if len(parts) == 1:
        return parts[0][1]
    lists = []
    for columns in zip(*(zip(best.split(MERGED), ranks.split(MERGED)) for best, ranks in parts)):
        best, ranks = (torch.cat(column, 1) for column in zip(*columns))
        order = ranks.argsort(1)
        order = order.gather(1, best.gather(1, order).argsort(stable=True, dim=1))[:, : parts[0][1].shape[1]]
        lists.append(ranks.gather(1, order))
    return torch.cat(lists)


def _faiss_lists(features: Tensor, k: int) -> Tensor:
    if importlib.util.find_spec("faiss") is None:
        raise SettingError("--knn faiss needs faiss: pip install 'sdcl[faiss]', or use --knn torch")
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
