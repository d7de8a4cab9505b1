"""Vision transformers of SDCL: a stem per modality, a shared trunk, a deep and a shallow head (SDCL, CVPR 2024).

B images, P patches, D dimensions. Blocks are timm's.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from sdcl.datasets.sample import MODALITIES
from sdcl.models.backbone import Backbone
from sdcl.models.layers import IBN, bn_neck, initialise
from sdcl.runtime.errors import SettingError


@dataclass(frozen=True)
class ViTShape:
    """Numbers of one architecture. stem: "ics" (IBN convolution stem of TransReID-SSL) or "plain" (one patch convolution)."""

    dim: int
    depth: int
    heads: int
    stem: str = "ics"
    stem_width: int = 64
    patch: int = 16


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


class ClassTokenBlock(Block):
    """A block of which only the class token is wanted: keys and values of all tokens, everything else of that one (SDCL's heads).

    The same numbers as the whole block's first token; for ViT-B at 163 tokens, 11.8 % less work in the model with two heads.
    """

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, 1 + P, D) -> (B, D)."""
        mixed = self._attend(self.norm1(tokens))
        token = tokens[:, :1] + self.drop_path1(self.ls1(mixed))  # (B, 1, D)
        return (token + self.drop_path2(self.ls2(self.mlp(self.norm2(token)))))[:, 0]

    def _attend(self, x: Tensor) -> Tensor:
        """Attention of the first token to all. (B, N, D) -> (B, 1, D)."""
        own, (batch, count, dim) = self.attn, x.shape
        (weight_q, weight_kv), (bias_q, bias_kv) = (t.split([dim, 2 * dim]) for t in (own.qkv.weight, own.qkv.bias))
        query = F.linear(x[:, :1], weight_q, bias_q).view(batch, 1, own.num_heads, -1).transpose(1, 2)  # (B, heads, 1, d)
        keys, values = F.linear(x, weight_kv, bias_kv).view(batch, count, 2, own.num_heads, -1).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, keys, values)  # (B, heads, 1, d)
        return own.proj(mixed.transpose(1, 2).reshape(batch, 1, dim))


class Head(nn.Module):
    """A copy of the last block and norm, then the BN neck, on the class token."""

    def __init__(self, block: Block, norm: nn.Module, make: Callable[..., Block]):
        super().__init__()
        self.block, self.norm = make(), copy.deepcopy(norm)
        self.block.load_state_dict(block.state_dict())
        self.neck = bn_neck(norm.normalized_shape[0])

    def forward(self, tokens: Tensor) -> Tensor:
        return self.neck(self.norm(self.block(tokens)))  # (B, D)


def make_block(shape: ViTShape, drop_path: float, kind: type[Block] = Block) -> Block:
    return kind(shape.dim, shape.heads, qkv_bias=True, drop_path=drop_path, norm_layer=partial(nn.LayerNorm, eps=1e-6))


def make_blocks(shape: ViTShape, drop_path: float) -> nn.ModuleList:
    """Stochastic depth grows linearly from 0 to `drop_path`."""
    return nn.ModuleList(make_block(shape, rate) for rate in torch.linspace(0, drop_path, shape.depth, device="cpu").tolist())


def grid_of(shape: ViTShape, height: int, width: int) -> tuple[int, int]:
    """Patches along height and width.

    Raises:
        ValueError: the image is no multiple of the patch.
    """
    if height % shape.patch or width % shape.patch:
        raise SettingError(f"--height {height} and --width {width} must be multiples of the patch, {shape.patch} pixels")
    return height // shape.patch, width // shape.patch


def resize_pos_embed(pos_embed: Tensor, grid: tuple[int, int], old_grid: tuple[int, int] | None = None) -> Tensor:
    """(1, 1 + n, D) -> (1, 1 + h w, D): class token kept, patches resampled bilinearly (half-pixel centres, no antialiasing).

    Without `old_grid` it is 2:1 when n is twice a square (person crops: 16 x 8), else square (ImageNet).

    Raises:
        ValueError: neither fits.
    """
    n, dim = pos_embed.shape[1] - 1, pos_embed.shape[2]
    height, width = old_grid or _guessed_grid(n)
    old = pos_embed[:, 1:].float().reshape(1, height, width, dim).permute(0, 3, 1, 2)
    new = F.interpolate(old, grid, mode="bilinear", align_corners=False)
    return torch.cat([pos_embed[:, :1].float(), new.permute(0, 2, 3, 1).reshape(1, -1, dim)], dim=1)


def _guessed_grid(n: int) -> tuple[int, int]:
    height = math.isqrt(2 * n)
    width = height // 2
    if height * width != n:
        height = width = math.isqrt(n)
    if height * width != n:
        raise SettingError(f"a position embedding of {n} patches is neither 2:1 nor square")
    return height, width


class DualBranchViT(Backbone):
    """Stem per modality -> tokens -> trunk -> deep head; class token of the trunk with the tokens before block 1 -> shallow head."""

    def __init__(self, shape: ViTShape, height: int, width: int, drop_path: float, branches: Sequence[str]):
        super().__init__()
        self.shape, self.grid, self.branches, self.feature_dim = shape, grid_of(shape, height, width), tuple(branches), shape.dim
        stem = Stem(shape)
        blocks = make_blocks(shape, drop_path)
        for part in (stem, blocks):
            initialise(part)
        self.stems = nn.ModuleDict({m: copy.deepcopy(stem) for m in MODALITIES})
        self.recompute = False  # of the blocks' activations, for the gradient
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
        return [head.neck for head in self.heads.values()]

    def forward(self, images: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
        """modality -> (B_m, 3, H, W) gives modality -> branch -> (B_m, D), raw outputs of the BN necks.

        Both modalities go through trunk and necks as one batch, visible first; the stems see one modality each.
        """
        present = [m for m in MODALITIES if m in images]
        patches = torch.cat([self.stems[m](images[m]) for m in present])  # (B, P, D)
        tokens = torch.cat([self.cls_token.expand(len(patches), -1, -1), patches], dim=1) + self.pos_embed  # (B, 1 + P, D)
        trunk = tokens
        for block in self.blocks:
            again = self.recompute and self.training and torch.is_grad_enabled()
            trunk = checkpoint(block, trunk, use_reentrant=False) if again else block(trunk)
        inputs = {"deep": trunk, "shallow": torch.cat([trunk[:, :1], tokens[:, 1:]], dim=1)}
        features = {b: self.heads[b](inputs[b]).split([len(images[m]) for m in present]) for b in self.branches}
        return {m: {b: features[b][i] for b in self.branches} for i, m in enumerate(present)}


class SingleStemViT(nn.Module):
    """The plain transformer that pre-training sees, with TransReID-SSL's names. Images (B, 3, H, W) -> class token (B, D)."""

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
        """All tokens (B, 1 + P, D), the class token first; images of another size see the position embedding resampled."""
        patches = self.patch_embed(images)
        grid = grid_of(self.shape, *images.shape[2:])
        pos_embed = self.pos_embed if grid == self.grid else resize_pos_embed(self.pos_embed, grid, self.grid)
        tokens = torch.cat([self.cls_token.expand(len(patches), -1, -1), patches], dim=1) + pos_embed
        for block in self.blocks:
            tokens = block(tokens)
        return self.norm(tokens)
