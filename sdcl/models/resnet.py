"""The AGW-style ResNet of the family: a stem per modality, shared layers 1 to 4, GeM pooling, BN neck (ADCA, GUR; SDCL's variant).

B images, D dimensions. Layers are torchvision's. Non-local blocks are off in ADCA, GUR and SDCL, on in PGM and BMIL.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from sdcl.datasets.sample import MODALITIES
from sdcl.models.backbone import Backbone
from sdcl.models.layers import IBN, bn_neck
from sdcl.models.non_local import non_local_blocks, run_stage


@dataclass(frozen=True)
class ResNetShape:
    """Layers of each of the four stages, their block, and whether the stems carry an IBN layer (SDCL's ResNet).

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
    """Image -> 1/4 resolution, 64 channels."""

    def __init__(self, network: ResNet, ibn: bool):
        super().__init__()
        self.conv1, self.bn1 = network.conv1, network.bn1
        self.ibn = IBN(64) if ibn else nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        return F.max_pool2d(F.relu(self.bn1(self.ibn(self.conv1(images)))), 3, 2, 1)


class DualStemResNet(Backbone):
    """Deep feature only: `branches` is ("deep",)."""

    branches = ("deep",)

    def __init__(self, shape: ResNetShape):
        super().__init__()
        self.shape, self.feature_dim = shape, shape.dim
        network = ResNet(Bottleneck if shape.bottleneck else BasicBlock, list(shape.layers))
        first = network.layer4[0]  # the last stage keeps its resolution
        for conv in (first.conv2 if shape.bottleneck else first.conv1, first.downsample[0]):
            conv.stride = (1, 1)
        stem = ResNetStem(network, shape.stem_ibn)
        self.stems = nn.ModuleDict({m: copy.deepcopy(stem) for m in MODALITIES})
        self.layer1, self.layer2, self.layer3, self.layer4 = network.layer1, network.layer2, network.layer3, network.layer4
        self.neck = bn_neck(shape.dim)
        self.non_local = non_local_blocks(shape.non_local, [shape.dim // 8, shape.dim // 4, shape.dim // 2, shape.dim])

    @property
    def necks(self) -> list[nn.BatchNorm1d]:
        """BN necks, one a branch."""
        return [self.neck]

    def forward(self, images: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
        """modality -> (B_m, 3, H, W) gives modality -> {"deep": (B_m, D)}: BN output, in eval mode normalised to unit length."""
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
    """Generalised mean pooling (B, D, h, w) -> (B, D), in float32."""
    return (maps.float().pow(p).mean((2, 3)) + eps).pow(1 / p)
