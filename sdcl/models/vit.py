"""Vision transformers: the dual-branch network of SDCL, and the single-stem one that pretraining sees.

SDCL's network has a stem per modality, a shared trunk, and a deep and a shallow head. Source: Yang et al.,
Shallow-Deep Collaborative Learning for Unsupervised Visible-Infrared Person Re-Identification, CVPR 2024.
Blocks are timm's; the convolution stem is that of Luo et al., Self-Supervised Pre-Training for
Transformer-Based Person Re-Identification, 2021 (TransReID-SSL). LayerScale: Touvron et al., Going Deeper
with Image Transformers, ICCV 2021; registers: Darcet et al., Vision Transformers Need Registers, ICLR 2024.

B images, P patches, R registers, N = 1 + R + P tokens (class token, registers, patches), D dimensions,
d dimensions of an attention head.
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
from timm.layers import QuickGELU
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torchvision.models.resnet import BasicBlock, ResNet

from sdcl.data.normalization import IMAGENET, Normalization
from sdcl.datasets import MODALITIES
from sdcl.models.backbone import Backbone
from sdcl.models.layers import IBN, bn_neck, initialise
from sdcl.models.resnet import ResNetStem
from sdcl.runtime.errors import SettingError, WeightError

HYBRID_CHANNELS = 256  # of the third stage of a ResNet of basic blocks
ACTIVATIONS: dict[str, type[nn.Module]] = {"gelu": nn.GELU, "quick_gelu": QuickGELU}


@dataclass(frozen=True)
class ViTShape:
    """Sizes of one architecture.

    Args:
        dim, depth, heads: D, number of blocks, attention heads of each.
        stem: "ics" (three convolutions with IBN, TransReID-SSL), "plain" (one patch convolution) or "hybrid"
            (the first layers of a ResNet; its stages, which both modalities share, make the patches).
        stem_width: channels of the convolutions of an "ics" stem.
        patch: side of a patch in pixels.
        layer_scale: a learnt factor per dimension on what each half of a block adds (DINOv2, DeiT III).
        registers: R, learnt tokens beside the class token, without positions.
        pre_norm: CLIP's form: a norm before the first block, no bias in the patch convolution, and
            LayerNorms with epsilon 1e-5 instead of 1e-6.
        activation: of the MLPs: "gelu" or "quick_gelu" (OpenAI's CLIP).
    """

    dim: int
    depth: int
    heads: int
    stem: str = "ics"
    stem_width: int = 64
    patch: int = 16
    layer_scale: bool = False
    registers: int = 0
    pre_norm: bool = False
    activation: str = "gelu"

    @property
    def epsilon(self) -> float:
        """Of the LayerNorms."""
        return 1e-5 if self.pre_norm else 1e-6


class Stem(nn.Module):
    """Images (B, 3, H, W) -> patch tokens (B, P, D), row by row.

    Attribute names are those of TransReID-SSL's weight files.
    """

    def __init__(self, shape: ViTShape):
        super().__init__()
        width, patch = shape.stem_width, shape.patch
        if shape.stem == "plain":
            self.conv: nn.Module = nn.Identity()
            self.proj = nn.Conv2d(3, shape.dim, patch, patch, bias=not shape.pre_norm)
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


class HybridStages(nn.Module):
    """Maps of a ResNet's stem (B, 64, H / 4, W / 4) -> patch tokens (B, P, D), row by row.

    Three stages of one basic block each, then a linear map. Source: the hybrid architecture of Dosovitskiy et
    al., An Image is Worth 16x16 Words, ICLR 2021, Sec. 3.1.
    """

    def __init__(self, dim: int):
        super().__init__()
        network = ResNet(BasicBlock, [1, 1, 1, 1])
        self.layer1, self.layer2, self.layer3 = network.layer1, network.layer2, network.layer3
        self.proj = nn.Conv2d(HYBRID_CHANNELS, dim, 1)

    def forward(self, maps: Tensor) -> Tensor:
        return self.proj(self.layer3(self.layer2(self.layer1(maps)))).flatten(2).transpose(1, 2)


def make_stem(shape: ViTShape) -> tuple[nn.Module, nn.Module]:
    """(the layers that each modality has of its own, those after them that all images share).

    The first map images (B, 3, H, W) to what the second map to patch tokens (B, P, D).
    """
    if shape.stem == "hybrid":
        return ResNetStem(ResNet(BasicBlock, [1, 1, 1, 1]), ibn=False), HybridStages(shape.dim)
    return Stem(shape), nn.Identity()


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
    norm: Any = partial(nn.LayerNorm, eps=shape.epsilon)
    return kind(
        shape.dim,
        shape.heads,
        qkv_bias=True,
        init_values=1.0 if shape.layer_scale else None,
        drop_path=drop_path,
        act_layer=ACTIVATIONS[shape.activation],
        norm_layer=norm,
    )


def make_blocks(shape: ViTShape, drop_path: float) -> nn.ModuleList:
    """All blocks of an architecture; the rate of stochastic depth grows linearly from 0 to `drop_path`."""
    rates = torch.linspace(0, drop_path, shape.depth, device="cpu").tolist()
    return nn.ModuleList(make_block(shape, rate) for rate in rates)


def grid_of(shape: ViTShape, height: int, width: int) -> tuple[int, int]:
    """Number of patches along height and width.

    Raises:
        SettingError: the image is no multiple of the patch.
    """
    patch = shape.patch
    if height % patch or width % patch:
        fitting = " ".join(
            f"--{n} {max(1, side // patch) * patch}" for n, side in (("height", height), ("width", width))
        )
        raise SettingError(
            f"--height {height} and --width {width} must be multiples of the patch, {patch} pixels, "
            f"such as {fitting}"
        )
    return height // patch, width // patch


def resize_pos_embed(
    pos_embed: Tensor,
    grid: tuple[int, int],
    old_grid: tuple[int, int] | None = None,
    antialias: bool = False,
) -> Tensor:
    """Resample a position embedding: (1, 1 + n, D) -> (1, 1 + h w, D).

    The class token is kept, patches are resampled bilinearly (half-pixel centres).

    Args:
        grid: (h, w) of the result.
        old_grid: (height, width) of the n patches; None: `grid_of_count`.
        antialias: widen the filter along a side that becomes shorter.

    Raises:
        WeightError: n patches are no rectangle that is known.
    """
    n, dim = pos_embed.shape[1] - 1, pos_embed.shape[2]
    height, width = old_grid or grid_of_count(n)
    old = pos_embed[:, 1:].float().reshape(1, height, width, dim).permute(0, 3, 1, 2)
    new = F.interpolate(old, grid, mode="bilinear", align_corners=False, antialias=antialias)
    return torch.cat([pos_embed[:, :1].float(), new.permute(0, 2, 3, 1).reshape(1, -1, dim)], dim=1)


def grid_of_count(n: int) -> tuple[int, int]:
    """(height, width) of n patches, which an embedding does not say.

    2:1 when n is twice a square (person crops: 16 x 8), else square (ImageNet), else the rectangle nearest to
    2:1 that is no wider than high and at most three times as high as wide (294 x 140 pixels at patch 14:
    21 x 10).

    Raises:
        WeightError: there is no such rectangle.
    """
    if is_two_to_one(n):
        return math.isqrt(2 * n), math.isqrt(2 * n) // 2
    if math.isqrt(n) ** 2 == n > 0:
        return math.isqrt(n), math.isqrt(n)
    rectangles = [(n // w, w) for w in range(1, math.isqrt(max(n, 0)) + 1) if n % w == 0 and n // w <= 3 * w]
    if not rectangles:
        raise WeightError(f"a position embedding of {n} patches is no rectangle of a known form")
    return min(rectangles, key=lambda sides: abs(math.log(sides[0] / sides[1] / 2)))


def is_two_to_one(n: int) -> bool:
    """Whether n patches may be a grid that is twice as high as wide."""
    return n > 0 and n % 2 == 0 and math.isqrt(n // 2) ** 2 == n // 2


def registers(shape: ViTShape) -> nn.Parameter | None:
    """Register tokens (1, R, D), drawn as a class token is; None without registers."""
    if not shape.registers:
        return None
    return nn.Parameter(nn.init.trunc_normal_(torch.zeros(1, shape.registers, shape.dim), std=0.02))


def first_norm(shape: ViTShape) -> nn.Module:
    """The norm before the first block."""
    return nn.LayerNorm(shape.dim, eps=shape.epsilon) if shape.pre_norm else nn.Identity()


def first_tokens(patches: Tensor, cls_token: Tensor, reg_token: Tensor | None, pos_embed: Tensor) -> Tensor:
    """Class token, registers and patches (B, N, D), positions added to all but the registers.

    Args:
        patches: (B, P, D). cls_token: (1, 1, D). reg_token: (1, R, D). pos_embed: (1, 1 + P, D).
    """
    count = len(patches)
    tokens = torch.cat([cls_token.expand(count, -1, -1), patches], dim=1) + pos_embed
    if reg_token is None:
        return tokens
    return torch.cat([tokens[:, :1], reg_token.expand(count, -1, -1), tokens[:, 1:]], dim=1)


class DualBranchViT(Backbone):
    """The dual-branch network of SDCL: a stem per modality, a shared trunk, a head per branch.

    The trunk is all blocks but the last, of which each head has a copy. The deep head reads the trunk's
    tokens; the shallow head reads the trunk's class token beside the other tokens (registers, patches) before
    the first block.
    """

    def __init__(self, shape: ViTShape, height: int, width: int, drop_path: float, branches: Sequence[str]):
        super().__init__()
        self.shape, self.grid = shape, grid_of(shape, height, width)
        self.branches, self.feature_dim = tuple(branches), shape.dim
        stem, self.stages = make_stem(shape)
        blocks = make_blocks(shape, drop_path)
        for part in (stem, self.stages, blocks):
            initialise(part)
        self.stems = nn.ModuleDict({m: copy.deepcopy(stem) for m in MODALITIES})
        self.recompute = False  # whether the backward pass recomputes the blocks' activations
        self.cls_token = nn.Parameter(torch.zeros(1, 1, shape.dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + self.grid[0] * self.grid[1], shape.dim))
        nn.init.trunc_normal_(self.cls_token, std=0.02)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        self.reg_token, self.norm_pre = registers(shape), first_norm(shape)
        self.blocks = blocks[:-1]
        norm = nn.LayerNorm(shape.dim, eps=shape.epsilon)
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
        patches = self.stages(torch.cat([self.stems[m](images[m]) for m in present]))  # (B, P, D)
        tokens = first_tokens(patches, self.cls_token, self.reg_token, self.pos_embed)  # (B, N, D)
        trunk = tokens = self.norm_pre(tokens)
        recompute = self.recompute and self.training and torch.is_grad_enabled()
        for block in self.blocks:
            trunk = checkpoint(block, trunk, use_reentrant=False) if recompute else block(trunk)
        inputs = {"deep": trunk, "shallow": torch.cat([trunk[:, :1], tokens[:, 1:]], dim=1)}
        sizes = [len(images[m]) for m in present]
        features = {b: self.heads[b](inputs[b]).split(sizes) for b in self.branches}
        return {m: {b: features[b][i] for b in self.branches} for i, m in enumerate(present)}


class SingleStemViT(nn.Module):
    """A plain vision transformer for pretraining. Images (B, 3, H, W) -> class token (B, D).

    Attribute names are those of TransReID-SSL's and timm's weight files. `normalization`
    is of the pixels of its images.
    """

    normalization: Normalization = IMAGENET

    def __init__(self, shape: ViTShape, height: int, width: int, drop_path: float = 0.0):
        super().__init__()
        grid = grid_of(shape, height, width)
        self.shape, self.grid, self.feature_dim = shape, grid, shape.dim
        self.patch_embed, self.stages = make_stem(shape)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, shape.dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + grid[0] * grid[1], shape.dim))
        self.blocks = make_blocks(shape, drop_path)
        self.norm = nn.LayerNorm(shape.dim, eps=shape.epsilon)
        initialise(self)
        nn.init.trunc_normal_(self.cls_token, std=0.02)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        self.reg_token, self.norm_pre = registers(shape), first_norm(shape)

    def forward(self, images: Tensor) -> Tensor:
        return self.tokens(images)[:, 0]

    def tokens(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) -> all tokens (B, N, D), the class token first.

        For images of another size the position embedding is resampled.
        """
        patches = self.stages(self.patch_embed(images))
        grid = grid_of(self.shape, *images.shape[2:])
        pos_embed = self.pos_embed if grid == self.grid else resize_pos_embed(self.pos_embed, grid, self.grid)
        tokens = self.norm_pre(first_tokens(patches, self.cls_token, self.reg_token, pos_embed))
        for block in self.blocks:
            tokens = block(tokens)
        return self.norm(tokens)
