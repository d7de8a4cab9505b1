"""Training images as a run sees them: decoded pixels and cameras.

Identities stay behind in the data set. N images of a modality.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sdcl.config import Settings
from sdcl.data.image_cache import ImageCache, build_caches, content_fingerprint, open_file
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
        train, extract = open_caches(paths, settings, processes, "training")
        listed = [path for m in MODALITIES for path in paths[m]]
        if not settings.augment.second_view:
            return cls(cameras, train, extract, content_fingerprint(listed))
        kind = settings.augment.translation
        folders: tuple[dict[str, ImageCache], ...] = ({}, {})
        if kind.startswith(FOLDER):
            translated = {"visible": paths_in_folder(paths["visible"], dataset.data_dir, kind)}
            listed += translated["visible"]
            folders = open_caches(translated, settings, processes, "translated")
        for_train, for_extract = (
            Translation(kind, images["infrared"], folder.get("visible"))
            for images, folder in zip((train, extract), folders)
        )
        return cls(
            cameras,
            train,
            extract,
            content_fingerprint(listed),
            translation=None if kind == "channel" else for_train,
            translated=TranslatedImages(extract["visible"], for_extract, settings.run.seed),
        )


def open_caches(
    paths: dict[str, list[str]], settings: Settings, processes: Processes, title: str
) -> tuple[dict[str, ImageCache], dict[str, ImageCache]]:
    """modality -> decoded images, for training steps and for clustering; the same ones where their files are.

    One process of each machine decodes while the others wait.
    """
    data = settings.data
    resizes = (data.resize_train, data.resize_extract)

    def build() -> dict[str, dict[str, Path]]:
        size, folder = (data.height, data.width), Path(data.cache_dir)
        return {
            m: build_caches(p, *size, resizes, folder, data.workers, f"{title} {m}") for m, p in paths.items()
        }

    built = build() if processes.local_rank == 0 else {}
    distributed.barrier()
    train, extract = {}, {}
    for m, files in (built or build()).items():
        for_train, for_extract = (files[resize] for resize in resizes)
        train[m] = extract[m] = open_file(for_train, processes.device)
        if not for_extract.samefile(for_train):
            extract[m] = open_file(for_extract, processes.device)
    return train, extract
