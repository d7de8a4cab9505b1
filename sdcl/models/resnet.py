"""The two-stream ResNet of ADCA and GUR, and SDCL's variant of it.

A stem per modality, shared stages, GeM pooling, BN neck. Source: AGW of Ye et al., Deep Learning for Person
Re-identification: A Survey and Outlook, TPAMI 2021. Layers are torchvision's. Non-local blocks are off in ADCA, GUR
and SDCL, on in PGM and BMIL.

B images, C channels, D dimensions, h x w cells of the last feature map.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from sdcl.datasets import MODALITIES
from sdcl.models.backbone import Backbone
from sdcl.models.layers import IBN, bn_neck
from sdcl.models.non_local import non_local_blocks, run_stage


@dataclass(frozen=True)
class ResNetShape:
    """Sizes of one architecture.

    Args:
        layers: blocks of each of the four stages.
        bottleneck: bottleneck blocks; else basic ones.
        stem_ibn: IBN layers in the stems, as in SDCL's ResNet.
        non_local: how many of the last layers of each stage are followed by a non-local block.
    """

    layers: tuple[int, int, int, int]
    bottleneck: bool = True
    stem_ibn: bool = False
    non_local: tuple[int, int, int, int] = (0, 0, 0, 0)

    @property
    def dim(self) -> int:
        return 2048 if self.bottleneck else 512


class ResNetStem(nn.Module):
    """Images (B, 3, H, W) -> maps (B, 64, H / 4, W / 4)."""

    def __init__(self, network: ResNet, ibn: bool):
        super().__init__()
        self.conv1, self.bn1 = network.conv1, network.bn1
        self.ibn = IBN(64) if ibn else nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        return F.max_pool2d(F.relu(self.bn1(self.ibn(self.conv1(images)))), 3, 2, 1)


class DualStemResNet(Backbone):
    """A ResNet with a stem per modality and shared stages. It has the deep branch alone."""

    branches = ("deep",)

    def __init__(self, shape: ResNetShape):
        super().__init__()
        self.shape, self.feature_dim = shape, shape.dim
        network = ResNet(Bottleneck if shape.bottleneck else BasicBlock, list(shape.layers))
        first: Any = network.layer4[0]
        for convolution in (first.conv2 if shape.bottleneck else first.conv1, first.downsample[0]):
            convolution.stride = (1, 1)  # the last stage keeps its resolution
        stem = ResNetStem(network, shape.stem_ibn)
        self.stems = nn.ModuleDict({m: copy.deepcopy(stem) for m in MODALITIES})
        self.layer1, self.layer2 = network.layer1, network.layer2
        self.layer3, self.layer4 = network.layer3, network.layer4
        self.neck = bn_neck(shape.dim)
        self.non_local = non_local_blocks(
            shape.non_local, [shape.dim // 8, shape.dim // 4, shape.dim // 2, shape.dim]
        )

    @property
    def necks(self) -> list[nn.BatchNorm1d]:
        """BN necks, one a branch."""
        return [self.neck]

    def forward(self, images: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
        """modality -> (B_m, 3, H, W) gives modality -> {"deep": (B_m, D)}, unit rows in eval mode."""
        present = [m for m in MODALITIES if m in images]
        maps = torch.cat([self.stems[m](images[m]) for m in present])
        for name, layers in self.stages():
            maps = run_stage(layers, list(self.non_local[name].children()), maps)  # at last (B, D, h, w)
        features = self.neck(gem(maps))
        if not self.training:
            features = features / features.norm(dim=1, keepdim=True)
        parts = features.split([len(images[m]) for m in present])
        return {m: {"deep": part} for m, part in zip(present, parts)}

    def stages(self) -> list[tuple[str, nn.Sequential]]:
        """The shared stages with their names, in order."""
        return [(name, getattr(self, name)) for name in ("layer1", "layer2", "layer3", "layer4")]


def gem(maps: Tensor, p: float = 3.0, eps: float = 1e-12) -> Tensor:
    """Generalised mean pooling (GeM) in float32. (B, D, h, w) -> (B, D). Source: Radenovic et al., TPAMI
    2019.
    """
    return (maps.float().pow(p).mean((2, 3)) + eps).pow(1 / p)
