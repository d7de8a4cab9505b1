"""Global batches of a stage (P clusters x K images, augmented views) and this process's shard of them.

B images in a batch, H height, W width.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from sdcl.config import Settings
from sdcl.data.augment import Augmentation, augment, augmentation
from sdcl.data.image_cache import ImageCache
from sdcl.data.normalization import Normalization
from sdcl.data.sampler import epoch_batches
from sdcl.data.translation import Translation
from sdcl.datasets.sample import MODALITIES
from sdcl.methods.interface import Batch, Stage
from sdcl.runtime.distributed import Processes
from sdcl.runtime.seeds import derive_seeds

TRANSLATED = 1  # last number in the name of the stream of translations
Views = dict[str, list[Augmentation]]  # modality -> the augmentation of each view


def training_views(settings: Settings, *, before_restart: bool = True) -> Views:
    """One view of each image, and a second, translated one of visible images (--second-view, --translation).

    Channel exchange is an operation of the view; other translations come before it (`load_views`).

    Args:
        before_restart: the epoch lies before any restart of the method (`Method.restarts`).
    """
    options = settings.augment
    plain = options.color_jitter if options.jitter_views == "all" else 0.0
    infrared = options.color_jitter if options.jitter_views == "first-stage" and before_restart else plain
    shared: dict[str, Any] = {
        "pad": options.pad,
        "flip": options.flip,
        "erase": options.erase,
    }
    visible = [augmentation("visible", "plain", plain, **shared)]
    if options.second_view:
        operation = "exchanged" if options.translation == "channel" else "plain"
        visible.append(augmentation("visible", operation, options.color_jitter, **shared))
    return {
        "visible": visible,
        "infrared": [augmentation("infrared", "plain", infrared, options.infrared_gray, **shared)],
    }


def draw_batches(
    stage: Stage, cameras: dict[str, np.ndarray], settings: Settings, seed: tuple[int, ...]
) -> dict[str, np.ndarray]:
    """Draw the training images of every step of a stage.

    Args:
        cameras: modality -> int (N,). seed: names the stage: (seed, epoch, number of the stage in the epoch).

    Returns:
        modality -> int (iterations, images of a step), indexes of training images. Each image enters the
        batch once per view.
    """
    batch = settings.batch
    sizes = {"visible": batch.batch_size_visible or batch.batch_size, "infrared": batch.batch_size}
    return {
        modality: epoch_batches(
            stage.labels[modality],
            cameras[modality],
            batch_size=sizes[modality],
            num_instances=batch.num_instances,
            iterations=stage.iterations,
            seed=(*seed, number),
            across_cameras=batch.cam,
        )
        for number, modality in enumerate(MODALITIES)
    }


def make_batch(stage: Stage, images: dict[str, np.ndarray], views: Views, processes: Processes) -> Batch:
    """The global batch, all images in the first view, then in the second; and this process's shard of it.

    Args:
        images: modality -> indexes of the training images of the step.
    """
    indexes = {m: np.tile(images[m], len(views[m])) for m in MODALITIES}
    sizes = {m: len(indexes[m]) // processes.count for m in MODALITIES}
    local = {m: slice(processes.rank * size, (processes.rank + 1) * size) for m, size in sizes.items()}
    return Batch({m: stage.labels[m][indexes[m]] for m in MODALITIES}, indexes, local)


def load_views(
    cache: ImageCache,
    images: np.ndarray,
    views: list[Augmentation],
    seed: tuple[int, ...],
    local: slice,
    normalization: Normalization,
    translation: Translation | None = None,
) -> Tensor:
    """Augmented images of this process's shard of one modality's batch.

    Args:
        images: indexes of the training images of the step. local: the shard of the batch, which holds every
            view of all images in turn.
        seed: names step and modality; each image and view has its own seed, so it looks the same on any
            process.
        normalization: of the network.
        translation: of the second view.

    Returns:
        float32 (B / processes, 3, H, W), normalised.
    """
    parts, start = [], 0  # start: of the present view in the batch
    for number, view in enumerate(views):
        shard = np.arange(len(images))[max(local.start - start, 0) : max(local.stop - start, 0)]
        if len(shard):
            seeds = derive_seeds(*seed, number, count=len(images))
            chosen, pixels = [seeds[i] for i in shard], cache.take(images[shard])
            if number and translation is not None:
                drawn = derive_seeds(*seed, number, TRANSLATED, count=len(images))
                pixels = translation(pixels, images[shard], [drawn[i] for i in shard])
            parts.append(augment(pixels, view, chosen, normalization))
        start += len(images)
    return torch.cat(parts)
