"""The table of architectures, and the one way to build a model.

Every model maps {modality: (B, 3, H, W)} to {modality: {branch: (B, D)}} and says its `branches` and `feature_dim`.
"""

from __future__ import annotations

from collections.abc import Sequence

from sdcl.models.backbone import Backbone
from sdcl.models.resnet import DualStemResNet, ResNetShape
from sdcl.models.vit import DualBranchViT, SingleStemViT, ViTShape
from sdcl.runtime.errors import SettingError

BRANCHES = ("deep", "shallow")
ARCHS: dict[str, ViTShape | ResNetShape] = {
    "vit_base": ViTShape(768, 12, 12),
    "vit_small": ViTShape(384, 12, 6),
    "vit_small_plain": ViTShape(384, 12, 6, stem="plain"),
    "vit_base_plain": ViTShape(768, 12, 12, stem="plain"),
    "vit_tiny": ViTShape(192, 12, 3),
    "vit_mini": ViTShape(192, 4, 3, stem_width=32),  # for a CPU and images of 96 x 48
    "resnet50": ResNetShape((3, 4, 6, 3)),
    "resnet50_ibn": ResNetShape((3, 4, 6, 3), stem_ibn=True),
    "resnet50_nl": ResNetShape((3, 4, 6, 3), non_local=(0, 2, 3, 0)),  # PGM, BMIL
    "resnet_mini": ResNetShape((1, 1, 1, 1), bottleneck=False),  # for a CPU
}


def build_model(arch: str, *, height: int, width: int, drop_path: float = 0.1, branches: Sequence[str] = BRANCHES) -> Backbone:
    """A model with random weights, its infrared stem and its heads being copies.

    Raises:
        ValueError: unknown architecture, or an image size that it cannot cut into patches.
    """
    shape = _shape(arch)
    if isinstance(shape, ResNetShape):
        return DualStemResNet(shape)
    return DualBranchViT(shape, height, width, drop_path, branches)


def single_stem_backbone(arch: str, height: int, width: int) -> SingleStemViT:
    """The single-stem transformer of an architecture, for pre-training.

    Raises:
        ValueError: unknown architecture or not a ViT.
    """
    shape = _shape(arch)
    if not isinstance(shape, ViTShape):
        raise SettingError(f"--arch {arch} is no ViT; pre-training makes ViTs: {', '.join(a for a in ARCHS if a.startswith('vit'))}")
    return SingleStemViT(shape, height, width)


def _shape(arch: str) -> ViTShape | ResNetShape:
    if arch not in ARCHS:
        raise SettingError(f"--arch {arch} is unknown; there are {', '.join(ARCHS)}")
    return ARCHS[arch]
