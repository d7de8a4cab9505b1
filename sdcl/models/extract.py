"""Embed every image of a store once, mirror image included. N images, D dimensions."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from sdcl.data.augment import normalize
from sdcl.data.store import ImageStore
from sdcl.runtime.distributed import gather_shares, share_of


@torch.no_grad()
def embed(model: nn.Module, store: ImageStore, modality: str, *, batch_size: int, bf16: bool, title: str) -> dict[str, Tensor]:
    """Mean of the eval-mode features of each image and of its mirror image, not normalised.

    The processes share the images and each gets all rows back.

    Returns:
        branch -> float32 (N, D) on the store's device, in the store's order.
    """
    was_training = model.training
    model.eval()
    mine = np.arange(len(store))[share_of(len(store))]
    parts: dict[str, list[Tensor]] = {b: [] for b in model.branches}
    batches = [mine[i : i + batch_size] for i in range(0, len(mine), batch_size)]
    for rows in tqdm(batches, f"embed {title} {modality}", unit="batch", disable=None, leave=False):
        images = normalize(store.take(rows))
        with torch.autocast(store.device.type, torch.bfloat16, enabled=bf16):
            plain, mirrored = (model({modality: x})[modality] for x in (images, images.flip(3)))
        for branch in parts:
            parts[branch].append((plain[branch].float() + mirrored[branch].float()) / 2)
    model.train(was_training)
    empty = torch.zeros(0, model.feature_dim, device=store.device)
    return {b: gather_shares(torch.cat(p) if p else empty, len(store)) for b, p in parts.items()}


def joined(features: dict[str, Tensor]) -> Tensor:
    """Raw halves side by side, normalised as a whole: the test feature. (N, D) each -> (N, branches x D) unit rows."""
    return F.normalize(torch.cat(list(features.values()), dim=1))
