"""Images of pretraining with their camera and track, from folders of crops,
from a set of tracks, or rendered.

A track is a sequence of frames in which a tracker followed one person past one camera; it needs no identity
label. N images, H, W their size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from tqdm import tqdm

from sdcl.data.image_cache import ImageCache, open_cache
from sdcl.datasets import MODALITIES, NO_TRACK, SUFFIXES, list_images, open_dataset
from sdcl.runtime.errors import DataError
from sdcl.runtime.files import printable
from sdcl.synthetic.renderer import random_camera, random_person, render
from sdcl.synthetic.scene import SENSORS

SENSOR_SHARES = (0.5, 0.37, 0.13)  # of the rendered cameras
T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Crops:
    """Images with their tracks and cameras.

    Args:
        images: uint8 (N, H, W, 3).
        track: int (N,), numbered over all cameras. camera: int (N,).
        identity: int (N,) of rendered identities, read by the objective "identity" and the probe; else None.
    """

    images: ImageCache
    track: np.ndarray
    camera: np.ndarray
    identity: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.track)


@dataclass(frozen=True)
class RenderSettings:
    """Seed, difficulty and image size (H, W) of rendered crops."""

    seed: int
    difficulty: str
    size: tuple[int, int]


# ------------------------------------------------------------------ images from folders


def folder_crops(
    folders: Sequence[str], height: int, width: int, cache_dir: Path, device: torch.device, workers: int
) -> Crops:
    """The images below some folders, in the layout DIR/CAMERA/TRACK/image.

    The first folder below DIR is the camera, the folder of the image its track. An image in a camera's folder
    itself is a track of its own; images in DIR itself belong to one more camera.

    Raises:
        DataError: a folder that is missing or empty, or images that cannot be read (all are named).
    """
    paths, tracks, cameras = [], [], []
    for folder in folders:
        root = Path(folder)
        if not root.is_dir():
            raise DataError(f"--images {printable(root)} is no folder; name one that holds person crops")
        images = list_images(root, recursive=True)
        if not images:
            suffixes = ", ".join(SUFFIXES)
            raise DataError(f"--images {printable(root)} holds no image ({suffixes}); name a folder of crops")
        for path in images:
            parts = path.relative_to(root).parts
            cameras.append(str(root / parts[0]) if len(parts) > 1 else str(root))
            tracks.append(str(path.parent) if len(parts) > 2 else str(path))
            paths.append(str(path))
    cache = open_cache(paths, height, width, "bilinear", cache_dir, device, workers=workers, title="crops")
    track, camera = (np.unique(names, return_inverse=True)[1] for names in (tracks, cameras))
    return Crops(cache, track, camera)


def dataset_crops(
    name: str, data_dir: str, height: int, width: int, cache_dir: Path, device: torch.device, workers: int
) -> Crops:
    """The training images of a set of tracks, with its tracks and cameras; identities are not read.

    The visible and the infrared camera of one number are two cameras.

    Raises:
        DataError: no such data set, one that is no set of tracks, or data that are missing or inconsistent.
    """
    train = open_dataset(name, data_dir).train
    samples = [s for m in MODALITIES for s in train[m]]
    if any(s.track == NO_TRACK for s in samples):
        raise DataError(
            f"--dataset {name} is no set of tracks; leave it out and name a folder of crops with --images, "
            "in the layout DIR/CAMERA/TRACK/image"
        )
    cameras = [(s.modality, s.camera) for s in samples]
    tracks = [(s.modality, s.track) for s in samples]
    paths = [s.path for s in samples]
    cache = open_cache(paths, height, width, "bilinear", cache_dir, device, workers=workers, title="crops")
    return Crops(cache, _numbered(tracks), _numbered(cameras))


def _numbered(names: Sequence[tuple[str, int]]) -> np.ndarray:
    """The number of each name among the sorted different ones, int64 (N,)."""
    numbers = {name: number for number, name in enumerate(sorted(set(names)))}
    return np.array([numbers[name] for name in names])


# ------------------------------------------------------------------ rendered images


def rendered_tracks(
    rendering: RenderSettings,
    cameras: int,
    tracks: int,
    frames: int,
    identities: int,
    jobs: int,
    device: torch.device,
) -> Crops:
    """`tracks` tracks of `frames` frames by each camera: half of the cameras visible, the others infrared.

    Each track shows one of `identities` identities of the pretraining namespace, which no benchmark set
    shares; the tracks of a camera show different ones. A quarter of the infrared cameras are thermal.
    """
    counts = [round(share * cameras) for share in SENSOR_SHARES]
    counts[0] += cameras - sum(counts)
    numbered = [(sensor, n) for sensor, count in zip(SENSORS, counts) for n in range(count)]
    tasks = [(rendering, sensor, number, tracks, frames, identities) for sensor, number in numbered]
    images = _in_parallel(_render_camera, tasks, jobs, "render cameras")
    track = np.repeat(np.arange(cameras * tracks), frames)
    return Crops(ImageCache(images, device), track, track // tracks)


def _render_camera(task: tuple[RenderSettings, str, int, int, int, int]) -> np.ndarray:
    """The tracks of one camera, uint8 (tracks * frames, H, W, 3)."""
    rendering, sensor, number, tracks, frames, identities = task
    seed, kind = rendering.seed, SENSORS.index(sensor)
    modality = "visible" if sensor == "visible" else "infrared"
    camera = random_camera((seed, number, kind), modality, thermal=sensor == "thermal")
    rng = np.random.default_rng((seed, number, kind))
    images = []
    for identity in rng.choice(identities, tracks, replace=False).tolist():
        person = random_person((seed, identity))
        for frame in range(frames):
            image_seed = (seed, identity, number, frame, kind)
            images.append(render(person, camera, image_seed, rendering.difficulty, rendering.size))
    return np.stack(images)


def rendered_identities(
    rendering: RenderSettings,
    identities: range,
    modality: str,
    images: int,
    cameras: int,
    jobs: int,
    device: torch.device,
) -> Crops:
    """`images` images of each identity by random cameras of one modality, each image a track of its own."""
    tasks = [(rendering, identity, modality, images, cameras) for identity in identities]
    pixels = _in_parallel(_render_identity, tasks, jobs, f"render {modality}")
    labels = np.repeat(np.arange(len(identities)), images)
    return Crops(ImageCache(pixels, device), np.arange(len(pixels)), np.zeros(len(pixels), int), labels)


def _render_identity(task: tuple[RenderSettings, int, str, int, int]) -> np.ndarray:
    """The images of one identity, uint8 (images, H, W, 3)."""
    rendering, identity, modality, count, cameras = task
    seed, infrared = rendering.seed, modality == "infrared"
    person = random_person((seed, identity))
    chosen = np.random.default_rng((seed, identity)).integers(0, cameras, count)
    images = []
    for i, number in enumerate(chosen.tolist()):
        camera = random_camera((seed, number, infrared), modality)
        images.append(
            render(person, camera, (seed, identity, i, infrared), rendering.difficulty, rendering.size)
        )
    return np.stack(images)


def _in_parallel(function: Callable[[T], np.ndarray], tasks: list[T], jobs: int, title: str) -> np.ndarray:
    """The concatenated results of `function` for all tasks, in their order, computed by `jobs` processes."""
    with ProcessPoolExecutor(jobs) as pool:
        return np.concatenate(
            list(tqdm(pool.map(function, tasks, chunksize=2), title, len(tasks), disable=None))
        )
