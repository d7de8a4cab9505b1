"""Embed the images of a decoded cache: the mean feature of each image and its horizontal flip.

N images, B images of a batch, D dimensions, H height, W width.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from sdcl.data.augment import normalize
from sdcl.data.image_cache import ImageCache, ImageSource
from sdcl.models.backbone import Backbone
from sdcl.runtime.distributed import gather_shares, largest_share, share_of

BeforeBatch = Callable[[int], None]  # gets the number of the batch, the same on every process


@torch.no_grad()
def extract_features(
    model: Backbone,
    images: ImageSource,
    modality: str,
    *,
    batch_size: int,
    bf16: bool,
    title: str,
    rows: np.ndarray | None = None,
    unit_views: bool = False,
    before_batch: BeforeBatch | None = None,
) -> dict[str, Tensor]:
    """Compute the features of a cache's images in eval mode. Each process embeds a share of them and receives
    all.

    Args:
        modality: "visible" or "infrared", whose stem the images go through.
        bf16: run the model under bf16 autocast.
        title: text of the progress bar.
        rows: int (N,), the images to embed, in this order; None: all of the cache.
        unit_views: bring the features of image and flip to unit length before they are averaged.
        before_batch: called before each batch; what it raises ends the embedding.

    Returns:
        branch -> float32 (N, D) on the cache's device, not normalised.
    """
    was_training = model.training
    model.eval()
    rows = np.arange(len(images)) if rows is None else rows
    share = rows[share_of(len(rows))]
    firsts = range(0, largest_share(len(rows)), batch_size)  # as many on every process
    parts: dict[str, list[Tensor]] = {branch: [] for branch in model.branches}
    bar = tqdm(firsts, f"embed {title} {modality}", unit="batch", disable=None, leave=False)
    for number, first in enumerate(bar):
        if before_batch is not None:
            before_batch(number)
        batch = share[first : first + batch_size]
        if not len(batch):
            continue
        features = flip_averaged(
            model,
            normalize(images.take(batch), model.normalization),
            modality,
            bf16=bf16,
            unit_views=unit_views,
        )
        for branch, part in parts.items():
            part.append(features[branch])
    model.train(was_training)
    empty = torch.zeros(0, model.feature_dim, device=images.device)
    return {
        branch: gather_shares(torch.cat(part) if part else empty, len(rows)) for branch, part in parts.items()
    }


def flip_averaged(
    model: Backbone, images: Tensor, modality: str, *, bf16: bool, unit_views: bool = False
) -> dict[str, Tensor]:
    """Average the features of a batch and of its horizontal flip.

    Args:
        images: float32 (B, 3, H, W), standardised.

    Returns:
        branch -> float32 (B, D).
    """
    with torch.autocast(images.device.type, torch.bfloat16, enabled=bf16):
        views = [model({modality: x})[modality] for x in (images, images.flip(3))]
    means = {}
    for branch in model.branches:
        plain, flipped = (F.normalize(v[branch].float()) if unit_views else v[branch].float() for v in views)
        means[branch] = (plain + flipped) / 2
    return means


def joined(features: dict[str, Tensor]) -> Tensor:
    """Concatenate the raw features of all branches and normalise the whole: the feature that tests compare.

    (N, D) of each branch -> unit rows (N, branches x D).
    """
    return F.normalize(torch.cat(list(features.values()), dim=1))


@torch.no_grad()
def calibrate_necks(
    model: Backbone,
    caches: dict[str, ImageCache],
    *,
    batch_size: int,
    bf16: bool,
    seed: int,
    before_batch: BeforeBatch | None = None,
) -> None:
    """Set the running statistics of the BN necks to those of pretrained features on unlabelled images.

    Pretrained weights hold no necks. Their running statistics would begin at mean 0 and variance 1, so the
    first clustering and the first memories would be made of features that were never standardised, while the
    first training steps standardise theirs. Both modalities are mixed in each batch, in proportion and in
    random order; statistics are averaged over the batches.

    Args:
        before_batch: as in `extract_features`.
    """
    necks = model.necks
    momenta = [neck.momentum for neck in necks]
    model.eval()
    for neck in necks:
        neck.reset_running_stats()
        neck.momentum = None  # cumulative average
        neck.train()
    total = sum(len(c) for c in caches.values())
    orders = {
        m: np.random.default_rng((seed, i)).permutation(len(c)) for i, (m, c) in enumerate(caches.items())
    }
    steps = max(1, total // batch_size)
    for step in range(steps):
        if before_batch is not None:
            before_batch(step)
        rows = {m: np.sort(order[step::steps]) for m, order in orders.items()}
        with torch.autocast(next(iter(caches.values())).device.type, torch.bfloat16, enabled=bf16):
            model({m: normalize(caches[m].take(r), model.normalization) for m, r in rows.items() if len(r)})
    for neck, momentum in zip(necks, momenta):
        neck.momentum = momentum
    model.eval()
