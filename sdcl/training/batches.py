"""The batches of a stage: which images, seen how, and which part of them on this process."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from sdcl.config.settings import Settings
from sdcl.data.augment import Augmentation, augment, augmentation
from sdcl.data.image_cache import ImageStore
from sdcl.data.sampler import epoch_batches
from sdcl.datasets.sample import MODALITIES
from sdcl.methods.interface import Batch, Stage
from sdcl.runtime.distributed import Processes

Views = dict[str, list[Augmentation]]


def training_views(settings: Settings) -> Views:
    """The augmentations that each modality's images are seen through; a visible image has two views unless --no-second-view."""
    own = settings.augment
    shared = {"color_jitter": own.color_jitter, "pad": own.pad, "flip": own.flip, "erase": own.erase}
    visible = [augmentation("visible", "plain", **shared)]
    if own.second_view:
        visible.append(augmentation("visible", "exchanged", **shared))
    return {"visible": visible, "infrared": [augmentation("infrared", "plain", adapt_gray=own.infrared_gray, **shared)]}


def draw_batches(stage: Stage, cameras: dict[str, np.ndarray], settings: Settings, seed: tuple[int, ...]) -> dict[str, np.ndarray]:
    """modality -> (iterations, images) rows of the training list; each image becomes one row of the batch per view.

    Args:
        seed: words that name the stage, such as (seed, epoch, number of the stage in it).
    """
    sizes = {"visible": settings.batch.batch_size_visible or settings.batch.batch_size, "infrared": settings.batch.batch_size}
    return {
        m: epoch_batches(
            stage.labels[m], cameras[m], batch_size=sizes[m], num_instances=settings.batch.num_instances,
            iterations=stage.iterations, seed=(*seed, i), across_cameras=settings.batch.cam,
        )
        for i, m in enumerate(MODALITIES)
    }  # fmt: skip


def make_batch(stage: Stage, rows: dict[str, np.ndarray], views: Views, processes: Processes) -> Batch:
    """The global batch: every view of all images in turn, and this process's contiguous part of it."""
    indexes = {m: np.tile(rows[m], len(views[m])) for m in MODALITIES}
    sizes = {m: len(indexes[m]) // processes.count for m in MODALITIES}
    local = {m: slice(processes.rank * size, (processes.rank + 1) * size) for m, size in sizes.items()}
    return Batch({m: stage.labels[m][indexes[m]] for m in MODALITIES}, indexes, local)


def load_views(store: ImageStore, rows: np.ndarray, views: list[Augmentation], seed: tuple[int, ...], local: slice) -> Tensor:
    """Augmented images (B / processes, 3, H, W) of this process's part; each image's own seed makes it the same on any process."""
    parts, start = [], 0
    for v, view in enumerate(views):
        mine = np.arange(len(rows))[max(local.start - start, 0) : max(local.stop - start, 0)]
        if len(mine):
            seeds = words(*seed, v, count=len(rows))
            parts.append(augment(store.take(rows[mine]), view, [seeds[i] for i in mine]))
        start += len(rows)
    return torch.cat(parts)


def words(*seed: int, count: int = 1) -> list[int]:
    """`count` 64-bit integers that depend on the whole seed."""
    return np.random.SeedSequence(seed).generate_state(count, np.uint64).tolist()
