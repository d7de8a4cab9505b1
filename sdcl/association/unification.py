"""What GUR (ICCV 2023) links images by: memories of other cameras and modalities (CAE), and labels of the other modality (CMLU).

N images, D dimensions, C clusters. Chunked: nothing N x N is held.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sdcl.runtime.validation import as_features, as_labels, at_least_one

CHUNK = 1024


@torch.no_grad()
def association_embedding(
    features: Tensor, memories: Sequence[Tensor], scale: float = 20.0, slices: Sequence[tuple[int, int]] | None = None
) -> Tensor:
    """Cross-memory association embedding (CAE): an image described by how it resembles the clusters of each memory.

    [softmax(scale unit(f) . M_1^T), softmax(scale unit(f) . M_2^T), ...], not brought to unit length.

    Args:
        features: (N, D), any norm. memories: (C_m, D) each, brought to unit rows.
        slices: columns of each softmax among all sum(C_m); None gives every memory its own.

    Returns:
        float32 (N, sum of the slices' widths); each row sums to the number of its non-empty slices.
    """
    if not len(memories):
        raise ValueError("an association embedding needs at least one memory")
    stack = F.normalize(as_features("memories", torch.cat(list(memories))))  # (sum C_m, D)
    likeness = scale * F.normalize(features.float()) @ stack.T
    return torch.cat([likeness[:, a:b].softmax(1) for a, b in slices or own_slices([len(m) for m in memories])], dim=1)


def own_slices(sizes: Sequence[int]) -> list[tuple[int, int]]:
    """Columns of each memory in the stack of all."""
    return list(pairwise(accumulate(sizes, initial=0)))


def released_slices(sizes: Sequence[int]) -> list[tuple[int, int]]:
    """The columns that the released code takes for the memories: it adds up sizes that were added up already.

    From the second memory on a slice begins too late and is too long, and the last one takes what is left, which can be nothing.
    """
    total = sum(sizes)
    ends = list(accumulate(accumulate(sizes)))[:-1]
    edges = [0, *(min(e, total) for e in ends), total]
    return list(pairwise(edges))


@torch.no_grad()
def heterogeneous_scores(queries: Tensor, keys: Tensor, key_labels: np.ndarray, k: int = 20) -> Tensor:
    """CMLU's heterogeneous affinity: each query's weight on every key cluster.

    Softmax over all keys of the cosine (no temperature), of which the k largest count, not brought back to sum 1.

    Args:
        queries, keys: (Nq, D), (Nk, D), any norm. key_labels: int (Nk,) with -1.

    Returns:
        float32 (Nq, C + 1); column 0 collects the outliers as a class of its own, column c + 1 is cluster c.
    """
    at_least_one(k=k)
    units = F.normalize(as_features("keys", keys))
    classes = torch.as_tensor(as_labels("key_labels", key_labels, len(units)), device=units.device) + 1
    count, k = int(classes.max()) + 1, min(k, len(classes))
    found = []
    for part in F.normalize(queries.float()).split(CHUNK):
        weight, nearest = (part @ units.T).softmax(1).topk(k, dim=1)  # (c, k)
        found.append(torch.zeros(len(part), count, device=units.device).scatter_add_(1, classes[nearest], weight))
    return torch.cat(found)


def propagate_labels(queries: Tensor, keys: Tensor, key_labels: np.ndarray, k: int = 20) -> np.ndarray:
    """Labels for one modality (visible) from the heterogeneous affinity to the other. -> int64 (Nq,), -1 included; first maximum."""
    return (heterogeneous_scores(queries, keys, key_labels, k).argmax(1) - 1).cpu().numpy()
