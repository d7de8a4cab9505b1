"""Vision transformers of SDCL: a stem per modality, a shared trunk, a deep and a shallow head (SDCL, CVPR 2024).

B images, P patches, D dimensions. Blocks are timm's.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from sdcl.data.samples import MODALITIES


@dataclass(frozen=True)
class ViTShape:
    """Numbers of one architecture. stem: "ics" (IBN convolution stem of TransReID-SSL) or "plain" (one patch convolution)."""

    dim: int
    depth: int
    heads: int
    stem: str = "ics"
    stem_width: int = 64
    patch: int = 16


class IBN(nn.Module):
    """Instance norm on the first half of the channels, batch norm on the second (Pan et al., ECCV 2018)."""

    def __init__(self, channels: int):
        super().__init__()
        self.half = channels // 2
        self.IN = nn.InstanceNorm2d(self.half, affine=True)
        self.BN = nn.BatchNorm2d(channels - self.half)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.IN(x[:, : self.half].contiguous()), self.BN(x[:, self.half :].contiguous())], dim=1)


class Stem(nn.Module):
    """Image (B, 3, H, W) -> patch tokens (B, P, D), row by row. Names as in TransReID-SSL."""

    def __init__(self, shape: ViTShape):
        super().__init__()
        width, patch = shape.stem_width, shape.patch
        if shape.stem == "plain":
            self.conv = nn.Identity()
            self.proj = nn.Conv2d(3, shape.dim, patch, patch)
            return
        self.conv = nn.Sequential(
            nn.Conv2d(3, width, 7, 2, 3, bias=False), IBN(width), nn.ReLU(),
            nn.Conv2d(width, width, 3, 1, 1, bias=False), IBN(width), nn.ReLU(),
            nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
        )  # fmt: skip
        self.proj = nn.Conv2d(width, shape.dim, patch // 2, patch // 2)  # the convolutions halved the image once

    def forward(self, images: Tensor) -> Tensor:
        return self.proj(self.conv(images)).flatten(2).transpose(1, 2)


class Head(nn.Module):
    """A copy of the last block and norm, then the BN neck, on the class token."""

    def __init__(self, block: nn.Module, norm: nn.Module, dim: int):
        super().__init__()
        self.block, self.norm = copy.deepcopy(block), copy.deepcopy(norm)
        self.neck = bn_neck(dim)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.neck(self.norm(self.block(tokens)[:, 0]))  # (B, D)


def bn_neck(dim: int) -> nn.BatchNorm1d:
    """BatchNorm1d whose bias is never trained."""
    neck = nn.BatchNorm1d(dim)
    neck.bias.requires_grad_(False)
    return neck


def make_blocks(shape: ViTShape, drop_path: float) -> nn.ModuleList:
    """Stochastic depth grows linearly from 0 to `drop_path`."""
    norm = partial(nn.LayerNorm, eps=1e-6)
    rates = torch.linspace(0, drop_path, shape.depth, device="cpu").tolist()
    return nn.ModuleList(Block(shape.dim, shape.heads, qkv_bias=True, drop_path=rate, norm_layer=norm) for rate in rates)


def grid_of(shape: ViTShape, height: int, width: int) -> tuple[int, int]:
    """Patches along height and width.

    Raises:
        ValueError: the image is no multiple of the patch.
    """
    if height % shape.patch or width % shape.patch:
        raise ValueError(f"--height {height} and --width {width} must be multiples of the patch, {shape.patch} pixels")
    return height // shape.patch, width // shape.patch


def initialise(module: nn.Module) -> None:
    """Truncated normal 0.02 for linear layers and tokens, He for convolutions."""
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.trunc_normal_(part.weight, std=0.02)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        elif isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out")


class DualBranchViT(nn.Module):
    """Stem per modality -> tokens -> trunk -> deep head; class token of the trunk with the tokens before block 1 -> shallow head."""

    def __init__(self, shape: ViTShape, height: int, width: int, drop_path: float, branches: Sequence[str]):
        super().__init__()
        self.shape, self.grid, self.branches, self.feature_dim = shape, grid_of(shape, height, width), tuple(branches), shape.dim
        stem = Stem(shape)
        blocks = make_blocks(shape, drop_path)
        for part in (stem, blocks):
            initialise(part)
        self.stems = nn.ModuleDict({m: copy.deepcopy(stem) for m in MODALITIES})
        self.cls_token = nn.Parameter(torch.zeros(1, 1, shape.dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + self.grid[0] * self.grid[1], shape.dim))
        nn.init.trunc_normal_(self.cls_token, std=0.02)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        self.blocks = blocks[:-1]
        norm = nn.LayerNorm(shape.dim, eps=1e-6)
        self.heads = nn.ModuleDict({b: Head(blocks[-1], norm, shape.dim) for b in self.branches})

    def forward(self, images: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
        """modality -> (B_m, 3, H, W) gives modality -> branch -> (B_m, D), raw outputs of the BN necks.

        Both modalities go through trunk and necks as one batch, visible first; the stems see one modality each.
        """
        present = [m for m in MODALITIES if m in images]
        patches = torch.cat([self.stems[m](images[m]) for m in present])  # (B, P, D)
        tokens = torch.cat([self.cls_token.expand(len(patches), -1, -1), patches], dim=1) + self.pos_embed  # (B, 1 + P, D)
        trunk = tokens
        for block in self.blocks:
            trunk = block(trunk)
        inputs = {"deep": trunk, "shallow": torch.cat([trunk[:, :1], tokens[:, 1:]], dim=1)}
        features = {b: self.heads[b](inputs[b]).split([len(images[m]) for m in present]) for b in self.branches}
        return {m: {b: features[b][i] for b in self.branches} for i, m in enumerate(present)}


class SingleStemViT(nn.Module):
    """The plain transformer that pre-training sees, with TransReID-SSL's names. Images (B, 3, H, W) -> class token (B, D)."""

    def __init__(self, shape: ViTShape, height: int, width: int, drop_path: float = 0.0):
        super().__init__()
        grid = grid_of(shape, height, width)
        self.feature_dim = shape.dim
        self.patch_embed = Stem(shape)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, shape.dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + grid[0] * grid[1], shape.dim))
        self.blocks = make_blocks(shape, drop_path)
        self.norm = nn.LayerNorm(shape.dim, eps=1e-6)
        initialise(self)
        nn.init.trunc_normal_(self.cls_token, std=0.02)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)

    def forward(self, images: Tensor) -> Tensor:
        patches = self.patch_embed(images)
        tokens = torch.cat([self.cls_token.expand(len(patches), -1, -1), patches], dim=1) + self.pos_embed
        for block in self.blocks:
            tokens = block(tokens)
        return self.norm(tokens)[:, 0]
