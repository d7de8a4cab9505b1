"""Cluster memory: one unit centroid per pseudo-label (ClusterContrast; SDCL, GUR, ADCA). K clusters, D dimensions."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sdcl.memory.momentum import sequential_update
from sdcl.runtime.validation import as_features, as_labels, as_rows


def centroids(features: Tensor, labels: np.ndarray) -> Tensor:
    """Unit mean of the raw features of each cluster; outliers (-1) are left out.

    Args:
        features: (N, D), not normalised: images with a large norm weigh more, as in the released code.
        labels: int (N,). Row r belongs to the r-th smallest label that occurs.

    Returns:
        (K, D) on the device of the features.

    Raises:
        ValueError: no image has a label, or not every image has one label or -1.
    """
    features = as_features("features", features)
    labels = as_labels("labels", labels, len(features))
    found, rank = np.unique(labels[labels >= 0], return_inverse=True)
    if len(found) == 0:
        raise ValueError("no image has a cluster, so there is nothing to average")
    members = torch.as_tensor(np.flatnonzero(labels >= 0), device=features.device)
    rank = torch.as_tensor(rank, device=features.device)
    total = torch.zeros(len(found), features.shape[1], dtype=features.dtype, device=features.device)
    total.index_add_(0, rank, features[members])
    return F.normalize(total / torch.bincount(rank, minlength=len(found))[:, None])


class ClusterMemory(nn.Module):
    """K unit rows that follow the batches."""

    def __init__(self, rows: Tensor):
        super().__init__()
        self.register_buffer("rows", as_features("rows", rows).clone())

    def forward(self) -> Tensor:
        """A snapshot (K, D): later updates do not reach into a loss that was built from it."""
        return self.rows.clone()

    @torch.no_grad()
    def update(self, features: Tensor, labels: np.ndarray, momentum: float, *, hardest: bool = False) -> None:
        """Move each labelled row towards the batch (FIXTURES' plain and hard form of the released update).

        Args:
            features: (B, D) of the whole global batch, any norm. labels: int (B,), rows of the memory.
            momentum: weight of the old row, 0..1.
            hardest: of each cluster take only the sample least similar to its row.
        """
        values = F.normalize(features.to(self.rows.dtype))
        labels = as_rows("labels of a memory's update", labels, len(values), len(self.rows))
        if hardest:
            picked = self._hardest(values, labels)
            values, labels = values[torch.as_tensor(picked, device=values.device)], labels[picked]
        sequential_update(self.rows, values, labels, momentum)

    @torch.no_grad()
    def replace(self, prototypes: Tensor) -> None:
        """Put other prototypes (K, D) in the place of all, as they are (ADCA's aggregation does not normalise them)."""
        if prototypes.shape != self.rows.shape:
            raise ValueError(f"prototypes must be {tuple(self.rows.shape)}, got {tuple(prototypes.shape)}")
        self.rows.copy_(prototypes)

    def _hardest(self, values: Tensor, labels: np.ndarray) -> np.ndarray:
        rows = self.rows[torch.as_tensor(labels, device=values.device)]
        similarity = (values * rows).sum(1).cpu().numpy()
        order = np.lexsort((similarity, labels))  # stable: the first in batch order wins a tie
        return order[np.unique(labels[order], return_index=True)[1]]
