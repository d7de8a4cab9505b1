"""Label refinement of DCCL: infrared labels for visible images, where images and clusters agree.

Yang et al., Dual Consistency-Constrained Learning, IEEE TIFS 2024, https://doi.org/10.1109/TIFS.2023.3341392;
our reading, see sdcl/methods/dccl.py.

Legend: Nv visible images, Nr infrared images, C infrared clusters, D dimensions, c rows of a chunk.
Ranks that wait in `once` take chunks, see `sdcl.runtime.work_sharing`.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sdcl.runtime.validation import as_features, as_labels, at_least_one
from sdcl.runtime.work_sharing import Share, chunks_of_shard, with_idle_ranks

CHUNK = 1024  # images


@torch.no_grad()
def refine_labels(
    queries: Tensor,
    keys: Tensor,
    key_labels: np.ndarray,
    clusters: Tensor,
    k: int = 20,
    nearest: int = 5,
    *,
    share: Share = with_idle_ranks,
) -> np.ndarray:
    """The one of a query's nearest clusters that most of its nearest keys carry.

    n_i(c) is how many of the k most similar keys of query i carry label c, C_i its `nearest` most similar
    clusters: y_i is the c of C_i with the largest n_i(c), of equal ones the most similar cluster, and -1 if
    none of the keys carries a label of C_i. Similarities are cosines. Work is chunked: nothing Nv x Nr is
    held.

    Args:
        queries: (Nv, D). keys: (Nr, D), the instance memory. key_labels: int (Nr,), -1 being an outlier.
        clusters: (C, D), the identity memory, row c of label c.
        k, nearest: lengths of the lists; cut to Nr and to C. share: who compares the chunks of queries:
            within `once` the waiting ranks take part. The labels do not depend on it.

    Returns:
        int64 (Nv,), labels of the key clusters or -1.

    Raises:
        ValueError: no key or cluster, not one label for each key, a label without a cluster, or a length
            below 1.
    """
    at_least_one(k=k, nearest=nearest)
    units, means = F.normalize(as_features("keys", keys)), F.normalize(as_features("clusters", clusters))
    ids = as_labels("key_labels", key_labels, len(units))
    if ids.max() >= len(means):
        raise ValueError(f"key_labels go up to {ids.max()}, but there are only {len(means)} clusters")
    labels = torch.as_tensor(ids, device=units.device)
    k, nearest = min(k, len(units)), min(nearest, len(means))
    shards = share(_refined, queries, units, labels, means, k, nearest)
    return torch.cat([ids for (ids,) in shards]).cpu().numpy()


@torch.no_grad()
def _refined(
    queries: Tensor,
    units: Tensor,
    labels: Tensor,
    means: Tensor,
    k: int,
    nearest: int,
    shard: int,
    shards: int,
) -> tuple[Tensor]:
    """`refine_labels` for a shard's chunks of queries; keys and clusters have unit length."""
    refined = []
    for chunk in chunks_of_shard(len(queries), CHUNK, shard, shards):
        part = F.normalize(queries[chunk].float())
        carried = labels[(part @ units.T).topk(k, dim=1).indices]  # (c, k)
        listed = (part @ means.T).topk(nearest, dim=1, sorted=True).indices  # (c, nearest), best first
        counts = (listed[:, :, None] == carried[:, None, :]).sum(2)  # (c, nearest)
        most = counts.amax(1, keepdim=True)
        first = torch.where(counts == most, 1, 0).argmax(1, keepdim=True)  # the best-ranked of equal counts
        refined.append(torch.where(most > 0, listed.gather(1, first), -1)[:, 0])
    return (torch.cat(refined),)
