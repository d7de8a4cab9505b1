"""Embed every image of a store once, mirror image included. N images, D dimensions."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from sdcl.data.augment import normalize
from sdcl.data.image_cache import ImageStore
from sdcl.runtime.distributed import gather_shares, share_of


@torch.no_grad()
def embed(
    model: nn.Module,
    store: ImageStore,
    modality: str,
    *,
    batch_size: int,
    bf16: bool,
    title: str,
    rows: np.ndarray | None = None,
    unit_views: bool = False,
) -> dict[str, Tensor]:
    """Mean of the eval-mode features of each image and of its mirror image, not normalised.

    The processes share the images and each gets all rows back.

    Args:
        rows: int (N,) images to embed, in this order; None: all of the store.
        unit_views: bring both features to unit length before they are averaged.

    Returns:
        branch -> float32 (N, D) on the store's device.
    """
    was_training = model.training
    model.eval()
    rows = np.arange(len(store)) if rows is None else rows
    mine = rows[share_of(len(rows))]
    parts: dict[str, list[Tensor]] = {b: [] for b in model.branches}
    batches = [mine[i : i + batch_size] for i in range(0, len(mine), batch_size)]
    for part in tqdm(batches, f"embed {title} {modality}", unit="batch", disable=None, leave=False):
        images = normalize(store.take(part))
        with torch.autocast(store.device.type, torch.bfloat16, enabled=bf16):
            views = [model({modality: x})[modality] for x in (images, images.flip(3))]
        for branch in parts:
            plain, mirrored = (F.normalize(v[branch].float()) if unit_views else v[branch].float() for v in views)
            parts[branch].append((plain + mirrored) / 2)
    model.train(was_training)
    empty = torch.zeros(0, model.feature_dim, device=store.device)
    return {b: gather_shares(torch.cat(p) if p else empty, len(rows)) for b, p in parts.items()}


@torch.no_grad()
def calibrate_necks(model: nn.Module, stores: dict[str, ImageStore], *, batch_size: int, bf16: bool, seed: int) -> None:
    """Give the BN necks the mean and variance that the starting weight's features have on these unlabelled images.

    A starting weight knows nothing of the necks: their running statistics begin at 0 and 1, so the first clustering and the first
    memories are made of features that were never standardised, while the first training steps standardise theirs. Both modalities
    are mixed in each batch, in proportion, in random order; statistics are averaged over the batches.
    """
    necks = [m for name, m in model.named_modules() if name.endswith("neck")]
    momenta = [neck.momentum for neck in necks]
    model.eval()
    for neck in necks:
        neck.reset_running_stats()
        neck.momentum = None  # cumulative average
        neck.train()
    total = sum(len(s) for s in stores.values())
    orders = {m: np.random.default_rng((seed, i)).permutation(len(s)) for i, (m, s) in enumerate(stores.items())}
    steps = max(1, total // batch_size)
    for step in range(steps):
        rows = {m: np.sort(order[step::steps]) for m, order in orders.items()}
        with torch.autocast(next(iter(stores.values())).device.type, torch.bfloat16, enabled=bf16):
            model({m: normalize(stores[m].take(r)) for m, r in rows.items() if len(r)})
    for neck, momentum in zip(necks, momenta):
        neck.momentum = momentum
    model.eval()


def joined(features: dict[str, Tensor]) -> Tensor:
    """Raw halves side by side, normalised as a whole: the test feature. (N, D) each -> (N, branches x D) unit rows."""
    return F.normalize(torch.cat(list(features.values()), dim=1))
