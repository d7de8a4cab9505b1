"""Cluster memory: one prototype per pseudo-label, initialised with the centroid of its images.

Dai et al., Cluster Contrast for Unsupervised Person Re-Identification, ACCV 2022,
https://arxiv.org/abs/2103.11568; used by ADCA, GUR and SDCL.

Legend: N images, B images of a batch, K clusters, D dimensions.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sdcl.memory.hybrid import least_similar
from sdcl.memory.momentum import sequential_update
from sdcl.runtime.devices import upload
from sdcl.runtime.validation import as_features, as_labels, as_rows


def centroids(features: Tensor, labels: np.ndarray) -> Tensor:
    """Normalised mean of the features of each cluster; outliers (-1) are left out.

    Args:
        features: (N, D), not normalised first: images with a large norm weigh more, as in the released code.
        labels: int (N,), -1 being an outlier. Row r belongs to the r-th smallest label that occurs.

    Returns:
        float32 (K, D), unit rows on the device of the features.

    Raises:
        ValueError: no image has a cluster, or not one label for each image.
    """
    features = as_features("features", features)
    labels = as_labels("labels", labels, len(features))
    clusters, rank = np.unique(labels[labels >= 0], return_inverse=True)
    if len(clusters) == 0:
        raise ValueError("no image has a cluster, so there is nothing to average")
    members = torch.as_tensor(np.flatnonzero(labels >= 0), device=features.device)
    row = torch.as_tensor(rank, device=features.device)
    total = torch.zeros(len(clusters), features.shape[1], dtype=features.dtype, device=features.device)
    total.index_add_(0, row, features[members])
    return F.normalize(total / torch.bincount(row, minlength=len(clusters))[:, None])


class ClusterMemory(nn.Module):
    """Prototypes of K clusters, unit rows that follow the batches with momentum.

    Args:
        prototypes: (K, D), copied.
    """

    rows: Tensor  # (K, D), a buffer

    def __init__(self, prototypes: Tensor):
        super().__init__()
        self.register_buffer("rows", as_features("prototypes", prototypes).clone())

    def forward(self) -> Tensor:
        """Copy of the prototypes (K, D), which later updates do not change."""
        return self.rows.clone()

    @torch.no_grad()
    def update(self, features: Tensor, labels: np.ndarray, momentum: float, *, hardest: bool = False) -> None:
        """Momentum update by a batch: M[y] <- unit(momentum M[y] + (1 - momentum) unit(f)).

        Samples are taken in the order of the batch, so that later ones weigh more.

        Args:
            features: (B, D) of the global batch, any norm. labels: int (B,), rows of the memory.
            momentum: weight of the old prototype, 0 to 1.
            hardest: use only the sample of each cluster that is least similar to its prototype (batch-hard
                variant).

        Raises:
            ValueError: not one label for each feature, or a label that is no row of the memory.
        """
        values = F.normalize(features.to(self.rows.dtype))
        labels = as_rows("labels of a memory's update", labels, len(values), len(self.rows))
        if hardest:
            values, labels = self._hardest(values, labels)
        sequential_update(self.rows, values, labels, momentum)

    @torch.no_grad()
    def replace(self, prototypes: Tensor) -> None:
        """Replace all prototypes by others (K, D), as they are: ADCA's aggregation does not normalise them.

        Raises:
            ValueError: another shape.
        """
        if prototypes.shape != self.rows.shape:
            raise ValueError(f"prototypes must be {tuple(self.rows.shape)}, got {tuple(prototypes.shape)}")
        self.rows.copy_(prototypes)

    def _hardest(self, values: Tensor, labels: np.ndarray) -> tuple[Tensor, np.ndarray]:
        """The least similar sample of each label in the batch, of equal ones the first: (C, D), and the
        labels (C,).
        """
        clusters, member = np.unique(labels, return_inverse=True)
        rows = self.rows[upload(labels, values.device)]
        picked = least_similar((values * rows).sum(1), upload(member, values.device), len(clusters))
        return values[picked], clusters
