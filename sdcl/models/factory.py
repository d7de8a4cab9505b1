"""The table of architectures, and the functions that build a network of it with random weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sdcl.models.backbone import Backbone
from sdcl.models.resnet import DualStemResNet, ResNetShape
from sdcl.models.vit import DualBranchViT, SingleStemViT, ViTShape
from sdcl.runtime.errors import SettingError

BRANCHES = ("deep", "shallow")
DINOV2 = ViTShape(384, 12, 6, stem="plain", patch=14, layer_scale=True)  # its ViT-S
CLIP_BASE = ViTShape(768, 12, 12, stem="plain", pre_norm=True, activation="quick_gelu")  # ViT-B/16
ARCHS: dict[str, ViTShape | ResNetShape] = {
    "vit_base": ViTShape(768, 12, 12),
    "vit_small": ViTShape(384, 12, 6),
    "vit_small_plain": ViTShape(384, 12, 6, stem="plain"),
    "vit_base_plain": ViTShape(768, 12, 12, stem="plain"),
    "vit_tiny": ViTShape(192, 12, 3),
    "vit_mini": ViTShape(192, 4, 3, stem_width=32),  # for a CPU and images of 96 x 48
    "vit_mini_plain": ViTShape(192, 4, 3, stem="plain"),
    # for a CPU and images of 64 x 32: convolutions learn in fewer steps
    "vit_mini_hybrid": ViTShape(256, 2, 4, stem="hybrid"),
    "deit3_small": ViTShape(384, 12, 6, stem="plain", layer_scale=True),
    "deit3_base": ViTShape(768, 12, 12, stem="plain", layer_scale=True),
    "dinov2_small": DINOV2,
    "dinov2_base": replace(DINOV2, dim=768, heads=12),
    "dinov2_large": replace(DINOV2, dim=1024, depth=24, heads=16),
    "dinov2_small_reg": replace(DINOV2, registers=4),
    "dinov2_base_reg": replace(DINOV2, dim=768, heads=12, registers=4),
    "dinov2_large_reg": replace(DINOV2, dim=1024, depth=24, heads=16, registers=4),
    "dinov2_mini": replace(DINOV2, dim=192, depth=4, heads=3),  # for a CPU and images of 98 x 42
    "clip_base": CLIP_BASE,  # OpenAI's, and files trained with its activation
    "clip_base_gelu": replace(CLIP_BASE, activation="gelu"),  # LAION's in open_clip
    "clip_mini": replace(CLIP_BASE, dim=192, depth=4, heads=3),
    "resnet50": ResNetShape((3, 4, 6, 3)),
    "resnet50_ibn": ResNetShape((3, 4, 6, 3), stem_ibn=True),
    "resnet50_nl": ResNetShape((3, 4, 6, 3), non_local=(0, 2, 3, 0)),  # PGM, BMIL
    "resnet_mini": ResNetShape((1, 1, 1, 1), bottleneck=False),  # for a CPU
    "resnet_mini_nl": ResNetShape((1, 1, 1, 1), bottleneck=False, non_local=(0, 1, 1, 0)),
}


def build_model(
    arch: str, *, height: int, width: int, drop_path: float = 0.1, branches: Sequence[str] = BRANCHES
) -> Backbone:
    """Build a network with random weights; the stems of both modalities begin equal, and so do the heads.

    Args:
        arch: a key of `ARCHS`.
        height, width: of its images, in pixels.
        drop_path: rate of stochastic depth of the last block (ViT).
        branches: features of a ViT; a ResNet has "deep" alone.

    Raises:
        SettingError: unknown architecture, or an image size that it cannot cut into patches.
    """
    shape = _shape(arch)
    if isinstance(shape, ResNetShape):
        return DualStemResNet(shape)
    return DualBranchViT(shape, height, width, drop_path, branches)


def single_stem_backbone(arch: str, height: int, width: int) -> SingleStemViT:
    """Build the single-stem transformer of an architecture, for pretraining.

    Raises:
        SettingError: unknown architecture, or not a ViT.
    """
    shape = _shape(arch)
    if not isinstance(shape, ViTShape):
        transformers = ", ".join(name for name, shape in ARCHS.items() if isinstance(shape, ViTShape))
        raise SettingError(f"--arch {arch} is no ViT; pretraining makes ViTs: {transformers}")
    return SingleStemViT(shape, height, width)


def _shape(arch: str) -> ViTShape | ResNetShape:
    if arch not in ARCHS:
        raise SettingError(f"--arch {arch} is unknown; there are {', '.join(ARCHS)}")
    return ARCHS[arch]
