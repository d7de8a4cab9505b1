"""Layers that the transformers and the ResNet share.

B images, C channels, D dimensions, H height, W width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class IBN(nn.Module):
    """Instance normalisation on the first half of the channels, batch normalisation on the second.

    (B, C, H, W) -> (B, C, H, W). Source: Pan et al., Two at Once: Enhancing Learning and Generalization
    Capacities via IBN-Net, ECCV 2018 (IBN-a). The attribute names are those of its released code, which
    weight files use.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.instance_channels = channels // 2
        self.IN = nn.InstanceNorm2d(self.instance_channels, affine=True)
        self.BN = nn.BatchNorm2d(channels - self.instance_channels)

    def forward(self, x: Tensor) -> Tensor:
        split = self.instance_channels
        return torch.cat([self.IN(x[:, :split].contiguous()), self.BN(x[:, split:].contiguous())], dim=1)


def bn_neck(dim: int) -> nn.BatchNorm1d:
    """BatchNorm1d with a frozen bias (BNNeck). (B, D) -> (B, D).

    Source: Luo et al., Bag of Tricks and a Strong Baseline for Deep Person Re-identification, CVPR Workshops
    2019.
    """
    neck = nn.BatchNorm1d(dim)
    neck.bias.requires_grad_(False)
    return neck


def initialise(module: nn.Module) -> None:
    """Draw initial weights in place: linear layers truncated normal (deviation 0.02), convolutions He."""
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.trunc_normal_(part.weight, std=0.02)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        elif isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out")
