"""Training images as a run sees them: decoded pixels and cameras.

Identities stay behind in the data set. N images of a modality.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sdcl.config import Settings
from sdcl.data.image_cache import ImageCache, build_cache, content_fingerprint, open_cache
from sdcl.data.translation import FOLDER, TranslatedImages, Translation, paths_in_folder
from sdcl.datasets import Dataset
from sdcl.datasets.sample import MODALITIES
from sdcl.runtime import distributed
from sdcl.runtime.distributed import Processes


@dataclass(frozen=True)
class TrainingImages:
    """Each dict has one entry per modality.

    Args:
        cameras: int (N,). train: images resized for training steps. extract: the same ones resized for
            clustering.
        fingerprint: hash of their file names and sizes, by which a checkpoint knows its data set wherever
            that lies.
        translation: of visible images in training steps; None: the augmentation exchanges channels, or there
            is no second view.
        translated: visible images translated for clustering; None without a second view.
    """

    cameras: dict[str, np.ndarray]
    train: dict[str, ImageCache]
    extract: dict[str, ImageCache]
    fingerprint: str
    translation: Translation | None = None
    translated: TranslatedImages | None = None

    @classmethod
    def open(cls, dataset: Dataset, settings: Settings, processes: Processes) -> TrainingImages:
        """Open the decoded images, decoding them into the cache first if they are not there.

        Raises:
            DataError: images that cannot be read, each named.
            OutputError: the cache folder cannot be written.
        """
        paths = {m: [s.path for s in dataset.train[m]] for m in MODALITIES}
        cameras = {m: np.array([s.camera for s in dataset.train[m]]) for m in MODALITIES}
        train = open_caches(paths, settings, settings.data.resize_train, processes, "training")
        extract = open_caches(paths, settings, settings.data.resize_extract, processes, "clustering")
        listed = [path for m in MODALITIES for path in paths[m]]
        if not settings.augment.second_view:
            return cls(cameras, train, extract, content_fingerprint(listed))
        kind, folders = settings.augment.translation, {}
        if kind.startswith(FOLDER):
            translated = {"visible": paths_in_folder(paths["visible"], dataset.data_dir, kind)}
            listed += translated["visible"]
            for use, resize in (
                ("train", settings.data.resize_train),
                ("extract", settings.data.resize_extract),
            ):
                folders[use] = open_caches(translated, settings, resize, processes, f"translated {use}")[
                    "visible"
                ]
        for_train = Translation(kind, train["infrared"], folders.get("train"))
        for_extract = Translation(kind, extract["infrared"], folders.get("extract"))
        return cls(
            cameras,
            train,
            extract,
            content_fingerprint(listed),
            translation=None if kind == "channel" else for_train,
            translated=TranslatedImages(extract["visible"], for_extract, settings.run.seed),
        )


def open_caches(
    paths: dict[str, list[str]], settings: Settings, resize: str, processes: Processes, title: str
) -> dict[str, ImageCache]:
    """modality -> decoded images. One process of each machine decodes while the others wait."""
    data = settings.data
    arguments = {m: (p, data.height, data.width, resize, Path(data.cache_dir)) for m, p in paths.items()}
    if processes.local_rank == 0:
        for m, image_list in arguments.items():
            build_cache(*image_list, data.workers, f"{title} {m}")
    distributed.barrier()
    return {
        m: open_cache(*image_list, processes.device, workers=data.workers, title=f"{title} {m}")
        for m, image_list in arguments.items()
    }
