"""Cross-modality memory aggregation (CMA, ADCA, MM 2022): pull the visible clusters' memory rows to those of their infrared partners.

Nv, Nr images, Cv, Cr clusters of the two modalities, D dimensions. Chunked: nothing Nv x Nr is held.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from sdcl.runtime.validation import as_features, as_labels

CHUNK = 1024


@torch.no_grad()
def count_matches(
    visible: Tensor, infrared: Tensor, visible_labels: np.ndarray, infrared_labels: np.ndarray, threshold: float = 0.5
) -> np.ndarray:
    """How many pairs of images reach the threshold, for every pair of clusters.

    Args:
        visible, infrared: (Nv, D), (Nr, D), compared by their dot products as they are. visible_labels, infrared_labels: int, with -1.
        threshold: least dot product, inclusive.

    Returns:
        int64 (P, 3): visible label, infrared label, count; most frequent first, of equally frequent ones the pair that holds the
        most similar images. Outliers (-1) are counted like a cluster.
    """
    visible, infrared = as_features("visible", visible), as_features("infrared", infrared)
    rows = torch.as_tensor(as_labels("visible_labels", visible_labels, len(visible)), device=visible.device) + 1  # 0 collects the outliers
    columns = torch.as_tensor(as_labels("infrared_labels", infrared_labels, len(infrared)), device=visible.device) + 1
    size = int(rows.max()) + 1, int(columns.max()) + 1
    counts = torch.zeros(size, dtype=torch.int64, device=visible.device)
    nearest = torch.full(size, -torch.inf, device=visible.device)
    member = torch.nn.functional.one_hot(columns, size[1]).float()  # (Nr, Cr + 1)
    for part in torch.arange(len(visible), device=visible.device).split(CHUNK):
        similarity = visible[part] @ infrared.T  # (c, Nr)
        reached = (similarity >= threshold).float() @ member  # (c, Cr + 1), exact: integers below 2^24
        counts.index_add_(0, rows[part], reached.long())
        best = torch.full((len(part), size[1]), -torch.inf, device=visible.device)
        best.scatter_reduce_(1, columns.expand(len(part), -1), similarity, "amax")
        nearest.scatter_reduce_(0, rows[part][:, None].expand(-1, size[1]), best, "amax")
    counts, nearest = counts.cpu().numpy(), nearest.cpu().numpy()
    found = np.argwhere(counts > 0)
    order = np.lexsort((-nearest[tuple(found.T)], -counts[tuple(found.T)]))
    found = found[order]
    return np.column_stack([found - 1, counts[tuple(found.T)]]).astype(np.int64)


def one_to_one(table: np.ndarray) -> np.ndarray:
    """Walk through the table and keep each pair whose two clusters are both still free. -> int64 (A, 2) visible, infrared label."""
    taken: tuple[set[int], set[int]] = (set(), set())
    pairs = []
    for a, b, _ in table.tolist():
        if a >= 0 and b >= 0 and a not in taken[0] and b not in taken[1]:
            pairs.append((a, b))
            taken[0].add(a)
            taken[1].add(b)
    return np.array(pairs, np.int64).reshape(-1, 2)


def aggregate(visible: Tensor, infrared: Tensor, pairs: np.ndarray, weight: float = 0.9) -> Tensor:
    """M_v[a] <- (1 - weight) M_v[a] + weight M_r[b] for each matched (a, b); not brought back to unit length, as in the released code.

    Args:
        visible: (Cv, D) rows, left as they are. infrared: (Cr, D). pairs: int (A, 2).

    Returns:
        (Cv, D), a new tensor.
    """
    a, b = torch.as_tensor(pairs, device=visible.device).T
    moved = visible.clone()
    moved[a] = (1 - weight) * visible[a] + weight * infrared[b]
    return moved
