"""The interface of every network: images of two modalities in, features of its branches out."""

from __future__ import annotations

from torch import Tensor, nn

from sdcl.data.normalization import IMAGENET, Normalization


class Backbone(nn.Module):
    """A network with a stem per modality, shared layers, and one feature per branch.

    Args:
        branches: names of its features, a subset of ("deep", "shallow").
        feature_dim: D, the width of each feature.
        normalization: of the pixels of its images, those of the weights that it started from.
    """

    branches: tuple[str, ...]
    feature_dim: int
    normalization: Normalization = IMAGENET

    @property
    def necks(self) -> list[nn.BatchNorm1d]:
        """BN necks, one a branch; pretrained weights do not hold them."""
        raise NotImplementedError

    def forward(self, images: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
        """modality -> (B_m, 3, H, W) gives modality -> branch -> (B_m, D)."""
        raise NotImplementedError
