"""Cross-modality memory aggregation (CMA) of ADCA: mix visible prototypes with matched infrared ones.

Yang et al., Augmented Dual-Contrastive Aggregation Learning, ACM MM 2022,
https://doi.org/10.1145/3503161.3548198.

Legend: Nv, Nr visible and infrared images, Cv, Cr clusters, D dimensions. Work is chunked: nothing Nv x Nr is
held. Ranks that wait in `once` take chunks, see `sdcl.runtime.work_sharing`.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from sdcl.runtime.validation import as_features, as_labels, require_finite
from sdcl.runtime.work_sharing import Share, chunks_of_shard, with_idle_ranks

CHUNK = 1024  # images


@torch.no_grad()
def count_matches(
    visible: Tensor,
    infrared: Tensor,
    visible_labels: np.ndarray,
    infrared_labels: np.ndarray,
    threshold: float = 0.5,
    *,
    share: Share = with_idle_ranks,
) -> np.ndarray:
    """Number of similar pairs of images for every pair of clusters.

    Args:
        visible, infrared: (Nv, D), (Nr, D), compared by their dot products without normalisation.
        visible_labels, infrared_labels: int (Nv,), (Nr,), -1 being an outlier.
        threshold: smallest dot product that counts, inclusive.
        share: who compares the chunks of visible images: within `once` the waiting ranks take part. The
            table does not depend on it.

    Returns:
        int64 (P, 3): visible label, infrared label, count; most frequent first, of equally frequent ones the
        pair with the most similar images. Outliers (-1) are counted like a cluster.

    Raises:
        ValueError: features are not a non-empty matrix, or not one label for each image.
    """
    visible, infrared = as_features("visible", visible), as_features("infrared", infrared)
    require_finite(visible)
    require_finite(infrared)
    device = visible.device
    # classes from 0, which collects the outliers
    visible_class = (
        torch.as_tensor(as_labels("visible_labels", visible_labels, len(visible)), device=device) + 1
    )
    infrared_class = (
        torch.as_tensor(as_labels("infrared_labels", infrared_labels, len(infrared)), device=device) + 1
    )
    shards = share(_counted, visible, infrared, visible_class, infrared_class, threshold)
    counts, nearest = shards[0]
    for other_counts, other_nearest in shards[1:]:
        counts, nearest = counts + other_counts, torch.maximum(nearest, other_nearest)
    pairs = counts.nonzero().cpu().numpy()  # (P, 2)
    frequency, largest = (table.cpu().numpy()[tuple(pairs.T)] for table in (counts, nearest))
    order = np.lexsort((-largest, -frequency))
    return np.column_stack([pairs - 1, frequency])[order].astype(np.int64)


@torch.no_grad()
def _counted(
    visible: Tensor,
    infrared: Tensor,
    visible_class: Tensor,
    infrared_class: Tensor,
    threshold: float,
    shard: int,
    shards: int,
) -> tuple[Tensor, Tensor]:
    """Similar pairs of a shard's chunks of visible images, and the largest dot product, by pair of classes.

    -> int64 and float32 (Cv + 1, Cr + 1)
    """
    size = int(visible_class.max()) + 1, int(infrared_class.max()) + 1
    counts = torch.zeros(size, dtype=torch.int64, device=visible.device)
    nearest = torch.full(size, -torch.inf, device=visible.device)
    for chunk in chunks_of_shard(len(visible), CHUNK, shard, shards):
        similarity, rows = visible[chunk] @ infrared.T, visible_class[chunk]  # (c, Nr), (c,)
        columns = infrared_class.expand(len(rows), -1)  # (c, Nr)
        reached = torch.zeros(len(rows), size[1], dtype=torch.int32, device=visible.device)
        reached.scatter_add_(1, columns, (similarity >= threshold).int())
        counts.index_add_(0, rows, reached.long())
        best = torch.full((len(rows), size[1]), -torch.inf, device=visible.device)
        best.scatter_reduce_(1, columns, similarity, "amax")
        nearest.scatter_reduce_(0, rows[:, None].expand(-1, size[1]), best, "amax")
    return counts, nearest


def one_to_one(table: np.ndarray) -> np.ndarray:
    """Greedy one-to-one matching of clusters, in the order of the table.

    Args:
        table: int (P, 3) of `count_matches`; rows with an outlier (-1) are skipped.

    Returns:
        int64 (A, 2), visible and infrared label.
    """
    matched: tuple[set[int], set[int]] = (set(), set())
    pairs = []
    for a, b, _ in table.tolist():
        if a >= 0 and b >= 0 and a not in matched[0] and b not in matched[1]:
            pairs.append((a, b))
            matched[0].add(a)
            matched[1].add(b)
    return np.array(pairs, np.int64).reshape(-1, 2)


def aggregate(visible: Tensor, infrared: Tensor, pairs: np.ndarray, weight: float = 0.9) -> Tensor:
    """M_v[a] <- (1 - weight) M_v[a] + weight M_r[b] for each matched (a, b); not normalised, as released.

    Args:
        visible, infrared: prototypes (Cv, D), (Cr, D), which stay as they are.
        pairs: int (A, 2), matched visible and infrared clusters.
        weight: of the infrared prototype, 0 to 1.

    Returns:
        (Cv, D), the new visible prototypes.
    """
    a, b = torch.as_tensor(pairs, device=visible.device).T
    mixed = visible.clone()
    mixed[a] = (1 - weight) * visible[a] + weight * infrared[b]
    return mixed
