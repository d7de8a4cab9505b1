"""Cross-memory association embedding (CAE) and cross-modality label unification (CMLU) of GUR.

Yang et al., Towards Grand Unified Representation Learning for Unsupervised Visible-Infrared Person
Re-Identification, ICCV 2023, https://doi.org/10.1109/ICCV51070.2023.01016.

Legend: N images, Nq queries, Nk keys, D dimensions, C clusters. Work is chunked: nothing Nq x Nk is held.
Ranks that wait in `once` take chunks of CMLU, see `sdcl.runtime.work_sharing`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sdcl.runtime.validation import as_features, as_labels, at_least_one, require_finite
from sdcl.runtime.work_sharing import Share, chunks_of_shard, with_idle_ranks

CHUNK = 1024  # images


@torch.no_grad()
def association_embedding(
    features: Tensor,
    memories: Sequence[Tensor],
    scale: float = 20.0,
    slices: Sequence[tuple[int, int]] | None = None,
) -> Tensor:
    """CAE: describe an image by its similarities to the clusters of each memory.

    [softmax(scale unit(f) M_1^T), softmax(scale unit(f) M_2^T), ...], not normalised as a whole.

    Args:
        features: (N, D), any norm.
        memories: (C_m, D) each, normalised by row here.
        scale: inverse temperature of the softmax.
        slices: first and end column of each softmax among all sum(C_m); None: one for each memory.

    Returns:
        float32 (N, sum of the widths of the slices); each row sums to the number of non-empty slices.

    Raises:
        ValueError: no memory, or memories that are not matrices.
    """
    if not len(memories):
        raise ValueError("an association embedding needs at least one memory")
    stack = F.normalize(as_features("memories", torch.cat(list(memories))))  # (sum C_m, D)
    similarity = scale * F.normalize(features.float()) @ stack.T  # (N, sum C_m)
    slices = slices or memory_slices([len(m) for m in memories])
    return torch.cat([similarity[:, a:b].softmax(1) for a, b in slices], dim=1)


def memory_slices(sizes: Sequence[int]) -> list[tuple[int, int]]:
    """First and end column of each memory in the stack of all, from their numbers of clusters."""
    return list(pairwise(accumulate(sizes, initial=0)))


def released_slices(sizes: Sequence[int]) -> list[tuple[int, int]]:
    """`memory_slices` as the released code computes them, by a cumulative sum of cumulative sums.

    From the second memory on a slice begins too late and is too long; the last one takes the remaining
    columns, if any.
    """
    total = sum(sizes)
    ends = list(accumulate(accumulate(sizes)))[:-1]
    edges = [0, *(min(e, total) for e in ends), total]
    return list(pairwise(edges))


@torch.no_grad()
def heterogeneous_scores(queries: Tensor, keys: Tensor, key_labels: np.ndarray, k: int = 20) -> Tensor:
    """Heterogeneous affinity of CMLU: the weight of each query on every key cluster.

    Softmax of the cosines to all keys (temperature 1), of which the k largest are summed by cluster, without
    renormalisation.

    Args:
        queries, keys: (Nq, D), (Nk, D), any norm.
        key_labels: int (Nk,), -1 being an outlier.
        k: number of keys that count; cut to Nk.

    Returns:
        float32 (Nq, C + 1); column 0 collects the outliers as one class, column c + 1 is cluster c.

    Raises:
        ValueError: no query or key, not one label for each key, or k below 1.
        TrainingError: features are not finite.
    """
    units, classes, k = _key_classes(keys, key_labels, k)
    require_finite(as_features("queries", queries))
    return torch.cat(list(_scores_of_chunks(queries, units, classes, k, 0, 1)))


def _key_classes(keys: Tensor, key_labels: np.ndarray, k: int) -> tuple[Tensor, Tensor, int]:
    """Unit keys (Nk, D), their classes int64 (Nk,), labels counted from 1, and k cut to Nk."""
    at_least_one(k=k)
    units = F.normalize(as_features("keys", keys))
    require_finite(units)
    classes = torch.as_tensor(as_labels("key_labels", key_labels, len(units)), device=units.device) + 1
    return units, classes, min(k, len(classes))


def _scores_of_chunks(
    queries: Tensor, units: Tensor, classes: Tensor, k: int, shard: int, shards: int
) -> Iterator[Tensor]:
    """`heterogeneous_scores` (c, C + 1) of a shard's chunks of queries, one after another."""
    count = int(classes.max()) + 1
    for chunk in chunks_of_shard(len(queries), CHUNK, shard, shards):
        part = F.normalize(queries[chunk].float())
        weight, nearest = (part @ units.T).softmax(1).topk(k, dim=1)  # (c, k)
        empty = torch.zeros(len(part), count, device=units.device)
        yield empty.scatter_add_(1, classes[nearest], weight)


@torch.no_grad()
def propagate_labels(
    queries: Tensor, keys: Tensor, key_labels: np.ndarray, k: int = 20, *, share: Share = with_idle_ranks
) -> np.ndarray:
    """CMLU: the key cluster with the largest heterogeneous affinity, of equal ones the first.

    Arguments and errors as those of `heterogeneous_scores`.

    Args:
        share: who scores the chunks of queries: within `once` the waiting ranks take part. The labels do not
            depend on it.

    Returns:
        int64 (Nq,), labels of the key clusters or -1.
    """
    require_finite(as_features("queries", queries))
    shards = share(_best_classes, queries, *_key_classes(keys, key_labels, k))
    return torch.cat([classes for (classes,) in shards]).cpu().numpy() - 1


@torch.no_grad()
def _best_classes(
    queries: Tensor, units: Tensor, classes: Tensor, k: int, shard: int, shards: int
) -> tuple[Tensor]:
    """The class with the largest score for each query of a shard. -> int64"""
    scores = _scores_of_chunks(queries, units, classes, k, shard, shards)
    return (torch.cat([part.argmax(1) for part in scores]),)
