"""Hierarchical identity learning of HIL: inverse-distance contrast with several centres per cluster (arXiv 2509.11587).

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
        centres: branch -> (C, K, D) unit rows, of the clusters of both modalities. weights: branch -> weight of its terms.
    """

    def __init__(self, centres: dict[str, Tensor], weights: dict[str, float]):
        super().__init__()
        self.weights = weights
        for branch, rows in centres.items():
            self.register_buffer(branch, rows)

    def forward(self, features: Features, everyone: Features, batch: Batch) -> dict[str, Tensor]:
        """One term per modality and branch, over the images whose nearest cluster is the same in all branches.

        See `Stage.objectives` for the arguments.
        """
        terms = {}
        for m in MODALITIES:
            nearest = torch.stack([nearest_cluster(features[m][b], self.get_buffer(b)) for b in self.weights])
            agreeing = (nearest == nearest[0]).all(0)  # (B,)
            for branch, weight in self.weights.items():
                loss = inverse_distance_contrast(features[m][branch], self.get_buffer(branch), agreeing)
                terms[f"identity_{m}_{branch}"] = weight * loss
        return terms
