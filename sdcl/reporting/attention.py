"""Attention of the class token on the patches in each branch of a ViT, read with forward hooks.

B images, T tokens (class token first, then registers, if any, then P patches), h heads, D dimensions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib import colormaps
from PIL import Image
from torch import Tensor, nn

from sdcl.inference.trained_model import TrainedModel
from sdcl.models.vit import DualBranchViT
from sdcl.runtime.errors import UserError

OPACITY = 0.55  # of the colours over the image


@torch.no_grad()
def class_attention(model: DualBranchViT, images: dict[str, Tensor]) -> dict[str, dict[str, np.ndarray]]:
    """Return modality -> name of the map -> (B, rows, columns) shares of attention on the patches, which
    sum to 1.

    "BRANCH, last block": the class token's attention in the block of each head, mean over its heads. "deep,
    rollout" (Abnar and Zuidema, ACL 2020): the attention of all blocks up to the deep head's multiplied, half
    of each token staying where it is.

    Args:
        images: modality -> standardised (B, 3, H, W).

    Raises:
        UserError: the blocks of the model did not run, so there is nothing to read.
    """
    was_training = model.training
    model.eval()
    maps = {m: _attention_maps(model, m, x) for m, x in images.items() if len(x)}
    model.train(was_training)
    return maps


def _attention_maps(model: DualBranchViT, modality: str, images: Tensor) -> dict[str, np.ndarray]:
    inputs: dict[nn.Module, Tensor] = {}
    watched = [*model.blocks, *(model.heads[b] for b in model.branches)]
    hooks = [
        module.register_forward_pre_hook(lambda m, args: inputs.__setitem__(m, args[0])) for module in watched
    ]
    try:
        model({modality: images})
    finally:
        for hook in hooks:
            hook.remove()
    if len(inputs) != len(watched):
        raise RuntimeError("the model's blocks did not run when it was called")
    heads: dict[str, Any] = {branch: model.heads[branch] for branch in model.branches}
    last = {b: attention_of(head.block, inputs[head]) for b, head in heads.items()}  # (B, T, T)
    maps = {f"{b}, last block": _on_patches(a[:, 0], model.grid) for b, a in last.items()}
    if "deep" in last:
        whole = rollout([attention_of(block, inputs[block]) for block in model.blocks] + [last["deep"]])
        maps["deep, rollout"] = _on_patches(whole[:, 0], model.grid)
    return maps


def attention_of(block: nn.Module, tokens: Tensor) -> Tensor:
    """(B, T, T) softmax(q k^T / sqrt(d)) of a block's input tokens (B, T, D), mean over the heads."""
    attention: Any = block.attn
    norm: Any = block.norm1
    batch, length, width = tokens.shape
    qkv = attention.qkv(norm(tokens)).reshape(
        batch, length, 3, attention.num_heads, width // attention.num_heads
    )
    query, key = qkv[:, :, 0].transpose(1, 2), qkv[:, :, 1].transpose(1, 2)  # (B, h, T, d)
    return (query @ key.transpose(2, 3) * query.shape[3] ** -0.5).softmax(3).mean(1)


def rollout(attentions: list[Tensor]) -> Tensor:
    """Product, from the first block to the last, of (A + I) / 2. (B, T, T) each."""
    identity = torch.eye(attentions[0].shape[1], device=attentions[0].device)
    whole = identity.expand_as(attentions[0])
    for attention in attentions:
        whole = (attention + identity) / 2 @ whole
    return whole


def overlay(image: np.ndarray, attention: np.ndarray) -> np.ndarray:
    """The image, uint8 (H, W, 3), under the colours of attention (rows, columns): dark blue none, yellow
    the most in this image.
    """
    values = torch.as_tensor(attention)[None, None].float()
    heat = (
        F.interpolate(values, size=image.shape[:2], mode="bicubic", align_corners=False)[0, 0]
        .clamp_min(0)
        .numpy()
    )
    heat = heat / max(float(np.quantile(heat, 0.995)), 1e-12)
    colours = colormaps["viridis"](np.clip(heat, 0, 1))[..., :3] * 255
    grey = image.mean(2, keepdims=True)
    return np.clip((1 - OPACITY) * grey + OPACITY * colours, 0, 255).astype(np.uint8)


def attention_of_image(
    trained: TrainedModel, image: Image.Image, modality: str
) -> list[tuple[str, np.ndarray]]:
    """(name of the map, uint8 (H, W, 3)) of each attention map over one image.

    Raises UserError: the model is no ViT.
    """
    if not isinstance(trained.model, DualBranchViT):
        raise UserError(f"--arch {trained.settings.model.arch} is no ViT and has no attention to show")
    maps = class_attention(trained.model, {modality: trained.network_input([image])})[modality]
    pixels = trained.pixels(image)
    return [(name, overlay(pixels, shares[0])) for name, shares in maps.items()]


def _on_patches(attention: Tensor, grid: tuple[int, int]) -> np.ndarray:
    """(B, T) of the class token -> (B, rows, columns), without its share on itself and on registers."""
    patches = attention[:, -grid[0] * grid[1] :]
    return (patches / patches.sum(1, keepdim=True)).reshape(-1, *grid).float().cpu().numpy()
