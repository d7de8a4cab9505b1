"""Hybrid memory (BMIL, AAAI 2026, arXiv 2512.07760): a mean row and a hard row for each cluster.

C rows of each kind, D dimensions.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sdcl.runtime.devices import upload
from sdcl.runtime.validation import as_features, as_rows


class HybridMemory(nn.Module):
    """Two unit rows of each cluster that follow the batches with momentum.

    `mean` follows the average of the cluster's samples, `hard` the sample that is least similar to the
    cluster.

    Args:
        rows: (C, D), initial value of both, copied.
    """

    mean: Tensor
    hard: Tensor

    def __init__(self, rows: Tensor):
        super().__init__()
        rows = as_features("rows", rows)
        self.register_buffer("mean", rows.clone())
        self.register_buffer("hard", rows.clone())

    def forward(self) -> tuple[Tensor, Tensor]:
        """Copies of the mean rows and of the hard rows, (C, D) each, which later updates do not change."""
        return self.mean.clone(), self.hard.clone()

    @torch.no_grad()
    def update(self, features: Tensor, labels: np.ndarray, momentum: float) -> None:
        """Move the rows of the clusters in the batch, once each.

        With Y the unit features of a cluster's samples in the batch:
            mean <- unit(momentum * mean + (1 - momentum) * average(Y)); the average is not normalised first
            hard <- unit(momentum * hard + (1 - momentum) * y); y in Y is the least similar to the mean row
                    before its update, the first in the batch among equals

        Args:
            features: (B, D) of the whole global batch, any norm. labels: int (B,), rows of the memory.
            momentum: weight of the old row, 0..1.
        """
        values = F.normalize(features.to(self.mean.dtype))
        labels = as_rows("labels of a memory's update", labels, len(values), len(self.mean))
        clusters, member, size = (
            upload(a, values.device) for a in np.unique(labels, return_inverse=True, return_counts=True)
        )
        average = torch.zeros(len(clusters), values.shape[1], dtype=values.dtype, device=values.device)
        average.index_add_(0, member, values).div_(size[:, None])
        hardest = least_similar((values * self.mean[clusters[member]]).sum(1), member, len(clusters))
        for rows, new in ((self.mean, average), (self.hard, values[hardest])):
            rows[clusters] = F.normalize(momentum * rows[clusters] + (1 - momentum) * new)


def least_similar(similarity: Tensor, group: Tensor, groups: int) -> Tensor:
    """Of each group the index of the sample with the smallest similarity, the first among equals; no
    group is empty.

    Args:
        similarity: (B,). group: int64 (B,), 0 .. groups - 1.

    Returns:
        int64 (groups,).
    """
    smallest = similarity.new_full((groups,), torch.inf).scatter_reduce_(0, group, similarity, "amin")
    index = torch.arange(len(group), device=group.device)
    candidates = index.masked_fill(similarity > smallest[group], len(group))
    return index.new_full((groups,), len(group)).scatter_reduce_(0, group, candidates, "amin")
