"""Hierarchical identity learning of HIL: inverse-distance contrast with several centres per cluster (arXiv
2509.11587).

B images of a batch, C clusters, K centres each, D dimensions.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sdcl.datasets import MODALITIES
from sdcl.losses import inverse_distance_contrast, nearest_cluster
from sdcl.methods.interface import Batch, Features


class IdentityContrast(nn.Module):
    """Centres of an epoch, which stay as they are in it, and their loss terms.

    Args:
        centres: branch -> (C, K, D) unit rows, of the clusters of both modalities. weights: branch -> weight
            of its terms.
    """

    def __init__(self, centres: dict[str, Tensor], weights: dict[str, float]):
        super().__init__()
        self.weights = weights
        for branch, rows in centres.items():
            self.register_buffer(branch, rows)

    def forward(self, features: Features, gathered: Features, batch: Batch) -> dict[str, Tensor]:
        """One term per modality and branch, over the images whose nearest cluster is the same in all
        branches.

        The mean is over such images of the whole batch: each process weighs its own by how many of them it
        has. See `Stage.objectives` for the arguments.
        """
        terms = {}
        for m in MODALITIES:
            agreeing, everywhere = self._agreeing(features[m]), self._agreeing(gathered[m])
            share = agreeing.sum() / everywhere.sum().clamp(min=1) * (len(everywhere) / len(agreeing))
            for branch, weight in self.weights.items():
                loss = inverse_distance_contrast(features[m][branch], self.get_buffer(branch), agreeing)
                terms[f"identity_{m}_{branch}"] = weight * share * loss
        return terms

    def _agreeing(self, features: dict[str, Tensor]) -> Tensor:
        """Whether the nearest cluster of an image is the same in all branches, bool (B,)."""
        nearest = torch.stack([nearest_cluster(features[b], self.get_buffer(b)) for b in self.weights])
        return (nearest == nearest[0]).all(0)
