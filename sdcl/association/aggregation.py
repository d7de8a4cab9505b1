"""Cross-modality memory aggregation (CMA) of ADCA: mix visible prototypes with matched infrared ones.

Yang et al., Augmented Dual-Contrastive Aggregation Learning, ACM MM 2022,
https://doi.org/10.1145/3503161.3548198.

Legend: Nv, Nr visible and infrared images, Cv, Cr clusters, D dimensions. Work is chunked: nothing Nv x Nr is
held.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from sdcl.runtime.validation import as_features, as_labels

CHUNK = 1024  # images


@torch.no_grad()
def count_matches(
    visible: Tensor,
    infrared: Tensor,
    visible_labels: np.ndarray,
    infrared_labels: np.ndarray,
    threshold: float = 0.5,
) -> np.ndarray:
    """Number of similar pairs of images for every pair of clusters.

    Args:
        visible, infrared: (Nv, D), (Nr, D), compared by their dot products without normalisation.
        visible_labels, infrared_labels: int (Nv,), (Nr,), -1 being an outlier.
        threshold: smallest dot product that counts, inclusive.

    Returns:
        int64 (P, 3): visible label, infrared label, count; most frequent first, of equally frequent ones the
        pair with the most similar images. Outliers (-1) are counted like a cluster.

    Raises:
        ValueError: features are not a non-empty matrix, or not one label for each image.
    """
    visible, infrared = as_features("visible", visible), as_features("infrared", infrared)
    device = visible.device
    # classes from 0, which collects the outliers
    visible_class = (
        torch.as_tensor(as_labels("visible_labels", visible_labels, len(visible)), device=device) + 1
    )
    infrared_class = (
        torch.as_tensor(as_labels("infrared_labels", infrared_labels, len(infrared)), device=device) + 1
    )
    size = int(visible_class.max()) + 1, int(infrared_class.max()) + 1
    counts = torch.zeros(size, dtype=torch.int64, device=device)
    nearest = torch.full(size, -torch.inf, device=device)
    member = torch.nn.functional.one_hot(infrared_class, size[1]).float()  # (Nr, Cr + 1)
    for part in torch.arange(len(visible), device=device).split(CHUNK):
        similarity = visible[part] @ infrared.T  # (c, Nr)
        reached = (similarity >= threshold).float() @ member  # (c, Cr + 1), exact: integers below 2^24
        counts.index_add_(0, visible_class[part], reached.long())
        best = torch.full((len(part), size[1]), -torch.inf, device=device)
        best.scatter_reduce_(1, infrared_class.expand(len(part), -1), similarity, "amax")
        nearest.scatter_reduce_(0, visible_class[part][:, None].expand(-1, size[1]), best, "amax")
    pairs = counts.nonzero().cpu().numpy()  # (P, 2)
    frequency, largest = (table.cpu().numpy()[tuple(pairs.T)] for table in (counts, nearest))
    order = np.lexsort((-largest, -frequency))
    return np.column_stack([pairs - 1, frequency])[order].astype(np.int64)


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
