"""Vision transformers: the dual-branch network of SDCL, and the single-stem one that pretraining sees.

SDCL's network has a stem per modality, a shared trunk, and a deep and a shallow head. Source: Yang et al.,
Shallow-Deep Collaborative Learning for Unsupervised Visible-Infrared Person Re-Identification, CVPR 2024.
Blocks are timm's; the convolution stem is that of Luo et al., Self-Supervised Pre-Training for
Transformer-Based Person Re-Identification, 2021 (TransReID-SSL).

B images, P patches, N = 1 + P tokens, D dimensions, d dimensions of an attention head.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
import torch.nn.functional as F
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from sdcl.data.normalization import IMAGENET, Normalization
from sdcl.datasets import MODALITIES
from sdcl.models.backbone import Backbone
from sdcl.models.layers import IBN, bn_neck, initialise
from sdcl.runtime.errors import SettingError, WeightError


@dataclass(frozen=True)
class ViTShape:
    """Sizes of one architecture.

    Args:
        dim, depth, heads: D, number of blocks, attention heads of each.
        stem: "ics" (three convolutions with IBN, TransReID-SSL) or "plain" (one patch convolution).
        stem_width: channels of the convolutions of an "ics" stem.
        patch: side of a patch in pixels.
    """

    dim: int
    depth: int
    heads: int
    stem: str = "ics"
    stem_width: int = 64
    patch: int = 16


class Stem(nn.Module):
    """Images (B, 3, H, W) -> patch tokens (B, P, D), row by row.

    Attribute names are those of TransReID-SSL's weight files.
    """

    def __init__(self, shape: ViTShape):
        super().__init__()
        width, patch = shape.stem_width, shape.patch
        if shape.stem == "plain":
            self.conv: nn.Module = nn.Identity()
            self.proj = nn.Conv2d(3, shape.dim, patch, patch)
            return
        layers: list[nn.Module] = []
        for inputs, kernel, stride, norm in (
            (3, 7, 2, IBN),
            (width, 3, 1, IBN),
            (width, 3, 1, nn.BatchNorm2d),
        ):
            convolution = nn.Conv2d(inputs, width, kernel, stride, kernel // 2, bias=False)
            layers += [convolution, norm(width), nn.ReLU()]
        self.conv = nn.Sequential(*layers)
        # the first convolution halved the image
        self.proj = nn.Conv2d(width, shape.dim, patch // 2, patch // 2)

    def forward(self, images: Tensor) -> Tensor:
        return self.proj(self.conv(images)).flatten(2).transpose(1, 2)


class ClassTokenBlock(Block):
    """A transformer block that computes the class token alone, equal to the first token of the whole block.

    Keys and values are those of all tokens; queries, projection and MLP are computed for the first. For ViT-B
    at 163 tokens the model with two heads needs 11.8 % fewer operations.
    """

    def forward(self, tokens: Tensor) -> Tensor:  # type: ignore[override]
        """(B, N, D) -> (B, D)."""
        mixed = self._attend(self.norm1(tokens))
        token = tokens[:, :1] + self.drop_path1(self.ls1(mixed))  # (B, 1, D)
        return (token + self.drop_path2(self.ls2(self.mlp(self.norm2(token)))))[:, 0]

    def _attend(self, x: Tensor) -> Tensor:
        """Attention of the first token to all. (B, N, D) -> (B, 1, D)."""
        batch, count, dim = x.shape
        attention: Any = self.attn
        heads, qkv = attention.num_heads, attention.qkv
        (weight_q, weight_kv), (bias_q, bias_kv) = (t.split([dim, 2 * dim]) for t in (qkv.weight, qkv.bias))
        # (B, 1, D) -> (B, heads, 1, d)
        query = F.linear(x[:, :1], weight_q, bias_q).view(batch, 1, heads, -1).transpose(1, 2)
        # (B, N, 2 D) -> keys and values, (B, heads, N, d) each
        keys, values = F.linear(x, weight_kv, bias_kv).view(batch, count, 2, heads, -1).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, keys, values)  # (B, heads, 1, d)
        return attention.proj(mixed.transpose(1, 2).reshape(batch, 1, dim))


class Head(nn.Module):
    """A copy of the last block and norm, then a BN neck, on the class token. (B, N, D) -> (B, D)."""

    def __init__(self, block: nn.Module, norm: nn.LayerNorm, make: Callable[..., Block]):
        super().__init__()
        self.block, self.norm = make(), copy.deepcopy(norm)
        self.block.load_state_dict(block.state_dict())
        self.neck = bn_neck(norm.normalized_shape[0])

    def forward(self, tokens: Tensor) -> Tensor:
        return self.neck(self.norm(self.block(tokens)))


def make_block(shape: ViTShape, drop_path: float, kind: type[Block] = Block) -> Block:
    """One block of an architecture, with stochastic depth of rate `drop_path`."""
    norm: Any = partial(nn.LayerNorm, eps=1e-6)
    return kind(shape.dim, shape.heads, qkv_bias=True, drop_path=drop_path, norm_layer=norm)


def make_blocks(shape: ViTShape, drop_path: float) -> nn.ModuleList:
    """All blocks of an architecture; the rate of stochastic depth grows linearly from 0 to `drop_path`."""
    rates = torch.linspace(0, drop_path, shape.depth, device="cpu").tolist()
    return nn.ModuleList(make_block(shape, rate) for rate in rates)


def grid_of(shape: ViTShape, height: int, width: int) -> tuple[int, int]:
    """Number of patches along height and width.

    Raises:
        SettingError: the image is no multiple of the patch.
    """
    if height % shape.patch or width % shape.patch:
        raise SettingError(
            f"--height {height} and --width {width} must be multiples of the patch, {shape.patch} pixels"
        )
    return height // shape.patch, width // shape.patch


def resize_pos_embed(
    pos_embed: Tensor, grid: tuple[int, int], old_grid: tuple[int, int] | None = None
) -> Tensor:
    """Resample a position embedding: (1, 1 + n, D) -> (1, 1 + h w, D).

    The class token is kept, patches are resampled bilinearly (half-pixel centres, no antialiasing).

    Args:
        grid: (h, w) of the result.
        old_grid: (height, width) of the n patches. None: 2:1 when n is twice a square (person crops: 16 x 8),
            else square (ImageNet).

    Raises:
        WeightError: n fits neither.
    """
    n, dim = pos_embed.shape[1] - 1, pos_embed.shape[2]
    height, width = old_grid or _grid_of_count(n)
    old = pos_embed[:, 1:].float().reshape(1, height, width, dim).permute(0, 3, 1, 2)
    new = F.interpolate(old, grid, mode="bilinear", align_corners=False)
    return torch.cat([pos_embed[:, :1].float(), new.permute(0, 2, 3, 1).reshape(1, -1, dim)], dim=1)


def _grid_of_count(n: int) -> tuple[int, int]:
    height = math.isqrt(2 * n)
    width = height // 2
    if height * width != n:
        height = width = math.isqrt(n)
    if height * width != n:
        raise WeightError(f"a position embedding of {n} patches is neither 2:1 nor square")
    return height, width


class DualBranchViT(Backbone):
    """The dual-branch network of SDCL: a stem per modality, a shared trunk, a head per branch.

    The trunk is all blocks but the last, of which each head has a copy. The deep head reads the trunk's
    tokens; the shallow head reads the trunk's class token beside the patch tokens before the first block.
    """

    def __init__(self, shape: ViTShape, height: int, width: int, drop_path: float, branches: Sequence[str]):
        super().__init__()
        self.shape, self.grid = shape, grid_of(shape, height, width)
        self.branches, self.feature_dim = tuple(branches), shape.dim
        stem = Stem(shape)
        blocks = make_blocks(shape, drop_path)
        for part in (stem, blocks):
            initialise(part)
        self.stems = nn.ModuleDict({m: copy.deepcopy(stem) for m in MODALITIES})
        self.recompute = False  # whether the backward pass recomputes the blocks' activations
        self.cls_token = nn.Parameter(torch.zeros(1, 1, shape.dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + self.grid[0] * self.grid[1], shape.dim))
        nn.init.trunc_normal_(self.cls_token, std=0.02)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        self.blocks = blocks[:-1]
        norm = nn.LayerNorm(shape.dim, eps=1e-6)
        last = partial(make_block, shape, drop_path, ClassTokenBlock)
        self.heads = nn.ModuleDict({b: Head(blocks[-1], norm, last) for b in self.branches})

    @property
    def necks(self) -> list[nn.BatchNorm1d]:
        """BN necks, one a branch."""
        return [cast(Head, head).neck for head in self.heads.values()]

    def forward(self, images: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
        """modality -> (B_m, 3, H, W) gives modality -> branch -> (B_m, D), not normalised.

        Both modalities go through trunk and necks as one batch, visible first; the stems see one modality
        each.
        """
        present = [m for m in MODALITIES if m in images]
        patches = torch.cat([self.stems[m](images[m]) for m in present])  # (B, P, D)
        class_tokens = self.cls_token.expand(len(patches), -1, -1)  # (B, 1, D)
        tokens = torch.cat([class_tokens, patches], dim=1) + self.pos_embed  # (B, N, D)
        trunk = tokens
        recompute = self.recompute and self.training and torch.is_grad_enabled()
        for block in self.blocks:
            trunk = checkpoint(block, trunk, use_reentrant=False) if recompute else block(trunk)
        inputs = {"deep": trunk, "shallow": torch.cat([trunk[:, :1], tokens[:, 1:]], dim=1)}
        sizes = [len(images[m]) for m in present]
        features = {b: self.heads[b](inputs[b]).split(sizes) for b in self.branches}
        return {m: {b: features[b][i] for b in self.branches} for i, m in enumerate(present)}


class SingleStemViT(nn.Module):
    """A plain vision transformer for pretraining. Images (B, 3, H, W) -> class token (B, D).

    Attribute names are those of TransReID-SSL's weight files. `normalization` is of the pixels of its images.
    """

    normalization: Normalization = IMAGENET

    def __init__(self, shape: ViTShape, height: int, width: int, drop_path: float = 0.0):
        super().__init__()
        grid = grid_of(shape, height, width)
        self.shape, self.grid, self.feature_dim = shape, grid, shape.dim
        self.patch_embed = Stem(shape)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, shape.dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + grid[0] * grid[1], shape.dim))
        self.blocks = make_blocks(shape, drop_path)
        self.norm = nn.LayerNorm(shape.dim, eps=1e-6)
        initialise(self)
        nn.init.trunc_normal_(self.cls_token, std=0.02)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)

    def forward(self, images: Tensor) -> Tensor:
        return self.tokens(images)[:, 0]

    def tokens(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) -> all tokens (B, N, D), the class token first.

        For images of another size the position embedding is resampled.
        """
        patches = self.patch_embed(images)
        grid = grid_of(self.shape, *images.shape[2:])
        pos_embed = self.pos_embed if grid == self.grid else resize_pos_embed(self.pos_embed, grid, self.grid)
        tokens = torch.cat([self.cls_token.expand(len(patches), -1, -1), patches], dim=1) + pos_embed
        for block in self.blocks:
            tokens = block(tokens)
        return self.norm(tokens)
