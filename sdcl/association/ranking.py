"""Collaborative ranking association (CRA) of SDCL: labels by rank lists in the other modality.

Yang et al., Shallow-Deep Collaborative Learning, CVPR 2024; the address is in sdcl/methods/sdcl.py.

Legend: Nq queries (visible), Nk keys (infrared), N images, D dimensions, K list length, q queries of a chunk.
Work is chunked: nothing Nq x Nk is held. Ranks that wait in `once` take chunks, see
`sdcl.runtime.work_sharing`.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sdcl.runtime.validation import as_features, as_labels, at_least_one, require_finite
from sdcl.runtime.work_sharing import Share, chunks_of_shard, with_idle_ranks

CHUNK = 1024  # images


@torch.no_grad()
def collaborative_ranking(
    queries: dict[str, Tensor],
    keys: dict[str, Tensor],
    key_labels: np.ndarray,
    k: int = 20,
    *,
    share: Share = with_idle_ranks,
) -> np.ndarray:
    """The key label on which a query's deep and shallow rank lists agree most.

    Of the labels of the K nearest keys in the first branch, the one that occurs most often among the labels
    of the K nearest keys in the second. -1 (outlier) takes part as a label. Where several are equally
    frequent the released code leaves the choice to the backend; here the best-ranked in the first branch
    wins.

    Args:
        queries, keys: branch -> (Nq, D), (Nk, D), any norm; two branches, or one, whose list is compared with
            itself.
        key_labels: int (Nk,), -1 being an outlier.
        k: list length K; cut to Nk.
        share: who ranks the chunks of queries: within `once` the waiting ranks take part. The labels do not
            depend on it.

    Returns:
        int64 (Nq,), labels of the key clusters or -1.

    Raises:
        ValueError: no query or key, not one label for each key, branches of different images, or k below 1.
        TrainingError: features are not finite.
    """
    at_least_one(k=k)
    branches = list(dict.fromkeys((next(iter(queries)), next(reversed(queries)))))  # first and last
    units = [F.normalize(as_features(f"keys[{b!r}]", keys[b])) for b in branches]
    sides = [as_features(f"queries[{b!r}]", queries[b]) for b in branches]
    for unit, side, branch in zip(units, sides, branches):
        require_finite(unit)
        require_finite(side)
        if len(unit) != len(units[0]) or len(side) != len(sides[0]) or unit.shape[1] != side.shape[1]:
            raise ValueError(
                f"branch {branch!r} has queries {tuple(side.shape)} and keys "
                f"{tuple(unit.shape)}, the first branch {len(sides[0])} queries and "
                f"{len(units[0])} keys: all branches describe the same images"
            )
    labels = torch.as_tensor(as_labels("key_labels", key_labels, len(units[0])), device=units[0].device)
    k = min(k, len(labels))
    shards = share(_labels_ranked_alike, labels, k, *sides, *units)
    return torch.cat([ids for (ids,) in shards]).cpu().numpy()


@torch.no_grad()
def _labels_ranked_alike(labels: Tensor, k: int, *sides: Tensor, shard: int, shards: int) -> tuple[Tensor]:
    """`collaborative_ranking` for a shard's chunks of queries.

    Args:
        labels: int64 (Nk,). sides: queries (Nq, D) of each branch, then unit keys (Nk, D) of each branch.
    """
    branches = len(sides) // 2
    chosen = []
    for chunk in chunks_of_shard(len(sides[0]), CHUNK, shard, shards):
        units = [F.normalize(queries[chunk].float()) for queries in sides[:branches]]
        listed = [labels[_nearest(q, keys, k)] for q, keys in zip(units, sides[branches:])]  # (q, K) each
        votes = (listed[0][:, :, None] == listed[-1][:, None, :]).sum(2)  # (q, K)
        tied = torch.where(votes == votes.amax(1, keepdim=True), 1, 0)
        best = tied.argmax(1, keepdim=True)  # the first maximum
        chosen.append(listed[0].gather(1, best)[:, 0])
    return (torch.cat(chosen),)


@torch.no_grad()
def majority_of_neighbors(
    labels: np.ndarray, features: dict[str, Tensor], k: int = 5, *, share: Share = with_idle_ranks
) -> np.ndarray:
    """Smooth labels by a majority vote of the K nearest images of the modality, the image itself included.

    Similarity is the sum of the cosines of all branches. Ties go to the smallest label, -1 being the
    smallest. Used by SDCL after CRA, and by GUR after CMLU.

    Args:
        labels: int (N,), -1 being an outlier.
        features: branch -> (N, D), any norm.
        k: number of voters K; cut to N. share: see `collaborative_ranking`.

    Returns:
        int64 (N,), labels or -1.

    Raises:
        ValueError: no image, not one label for each image, or k below 1.
        TrainingError: features are not finite.
    """
    at_least_one(k=k)
    # (N, branches * D), whose dot products are the sums of the cosines
    units = torch.cat([F.normalize(as_features("features", f)) for f in features.values()], dim=1)
    require_finite(units)
    classes = torch.as_tensor(as_labels("labels", labels, len(units)), device=units.device) + 1  # 0: outlier
    shards = share(_majority, units, classes, min(k, len(labels)))
    return torch.cat([majority for (majority,) in shards]).cpu().numpy() - 1


@torch.no_grad()
def _majority(units: Tensor, classes: Tensor, k: int, shard: int, shards: int) -> tuple[Tensor]:
    """`majority_of_neighbors` for a shard's chunks of images, as classes: labels counted from 1."""
    majority, count = [], int(classes.max()) + 1
    for chunk in chunks_of_shard(len(units), CHUNK, shard, shards):
        voters = classes[_nearest(units[chunk], units, k)]  # (q, K)
        votes = torch.zeros(len(voters), count, dtype=torch.int32, device=units.device)
        votes.scatter_add_(1, voters, torch.ones_like(voters, dtype=torch.int32))
        tied = torch.where(votes == votes.amax(1, keepdim=True), 1, 0)
        majority.append(tied.argmax(1))  # the smallest label
    return (torch.cat(majority),)


def _nearest(queries: Tensor, keys: Tensor, k: int) -> Tensor:
    """Indexes of the k keys (n, D) with the largest dot products, best first. -> int64 (q, k)"""
    return (queries @ keys.T).topk(k, dim=1, sorted=True).indices
