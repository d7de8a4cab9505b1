"""Exact k nearest neighbours, chunked, on the device of the features.

N images, D dimensions, k neighbours.
"""

from __future__ import annotations

import importlib.util

import numpy as np
import torch
from torch import Tensor

BACKENDS = ("torch", "faiss")


def nearest_neighbors(features: Tensor, k: int, *, backend: str = "torch", chunk: int = 2048) -> np.ndarray:
    """Ranks of the k images nearest to each image by squared Euclidean distance, the image itself included.

    Args:
        features: float32 (N, D), any norm.
        k: list length; cut to N when there are fewer images.
        backend: "torch" (any device) or "faiss" (flat L2 index, exact too; on a CPU, when installed).
        chunk: rows of the distance matrix held at once.

    Returns:
        int64 (N, min(k, N)), nearest first; the image itself always stands first, also among duplicates of it.

    Raises:
        ValueError: features are not a finite matrix, or faiss is asked for and is not installed.
    """
    if features.ndim != 2 or len(features) == 0:
        raise ValueError(f"features must be a non-empty (N, D) matrix, got shape {tuple(features.shape)}")
    if not bool(torch.isfinite(features).all()):
        raise ValueError("features hold NaN or infinite values: the model diverged; lower --lr or use --precision fp32")
    k = min(k, len(features))
    if backend == "faiss":
        return _self_first(_faiss_neighbors(features, k))
    if backend != "torch":
        raise ValueError(f"--knn must be one of {BACKENDS}, got {backend!r}")
    features = features.float()
    squared = features.square().sum(1)  # (N,)
    rows = []
    for part in features.split(chunk):
        distance = squared - 2 * part @ features.T  # (c, N); |x_i|^2 is constant in a row and cannot change its order
        rows.append(distance.topk(k, largest=False, sorted=True).indices.cpu())
    return _self_first(torch.cat(rows).numpy())


def _self_first(ranks: np.ndarray) -> np.ndarray:
    """Put each image at the head of its own list: among duplicates rounding would decide whether it is named at all."""
    count, k = ranks.shape
    own = np.arange(count)[:, None]
    place = np.where(ranks == own, np.arange(k), k - 1).min(1)  # where it stands; the last entry gives way if it is missing
    moved = np.where(np.arange(k) <= place[:, None], np.roll(ranks, 1, axis=1), ranks)
    moved[:, :1] = own
    return moved


def _faiss_neighbors(features: Tensor, k: int) -> np.ndarray:
    if importlib.util.find_spec("faiss") is None:
        raise ValueError("--knn faiss needs faiss: pip install 'sdcl[faiss]', or use --knn torch")
    import faiss

    array = np.ascontiguousarray(features.float().cpu().numpy())
    index = faiss.IndexFlatL2(array.shape[1])
    index.add(array)
    return index.search(array, k)[1].astype(np.int64)
