"""The images of pre-training and what is known of them without a label: which camera took an image, and which track it belongs to.

A track is a run of frames in which a tracker followed one person past one camera; it needs no identity. N images, H, W their size.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from sdcl.data.image_cache import ImageStore, open_store
from sdcl.runtime.errors import UserError
from sdcl.runtime.files import printable
from sdcl.synthetic.renderer import random_camera, random_person, render

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")
SENSORS = ("visible", "near", "thermal")
SHARES = (0.5, 0.37, 0.13)  # of the rendered cameras


@dataclass(frozen=True, eq=False)
class Crops:
    """Images with their tracks.

    Args:
        store: uint8 (N, H, W, 3).
        track: int (N,), numbered over all cameras. camera: int (N,).
        person: int (N,) for the objective "identity" alone, which only rendered people have; None otherwise.
    """

    store: ImageStore
    track: np.ndarray
    camera: np.ndarray
    person: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.track)


@dataclass(frozen=True)
class Drawing:
    """How people are drawn: seed, difficulty and (H, W)."""

    seed: int
    difficulty: str
    size: tuple[int, int]


# ------------------------------------------------------------------ images from folders


def folder_crops(folders: Sequence[str], height: int, width: int, cache_dir: Path, device: torch.device, workers: int) -> Crops:
    """The images below some folders, by the rule DIR/CAMERA/TRACK/image.

    The first folder below DIR is the camera and the folder of an image below that its track. An image that lies in its camera's folder
    itself is a track of its own; images that lie in DIR itself are one camera more.

    Raises:
        ValueError: a folder that is missing or empty, or images that cannot be read (all are named).
    """
    paths, tracks, cameras = [], [], []
    for folder in folders:
        root = Path(folder)
        if not root.is_dir():
            raise UserError(f"--images {printable(root)} is no folder; name one that holds person crops")
        found = sorted(Path(at, name) for at, _, names in os.walk(root) for name in names if name.lower().endswith(SUFFIXES))
        if not found:
            raise UserError(f"--images {printable(root)} holds no image ({', '.join(SUFFIXES)})")
        for path in found:
            inside = path.relative_to(root).parts
            cameras.append(str(root / inside[0]) if len(inside) > 1 else str(root))
            tracks.append(str(path.parent) if len(inside) > 2 else str(path))
            paths.append(str(path))
    store = open_store(paths, height, width, "bilinear", cache_dir, device, workers=workers, title="crops")
    return Crops(store, *(np.unique(names, return_inverse=True)[1] for names in (tracks, cameras)))


# ------------------------------------------------------------------ rendered images


def rendered_tracks(how: Drawing, cameras: int, tracks: int, frames: int, people: int, jobs: int, device: torch.device) -> Crops:
    """`tracks` tracks of `frames` frames by each of `cameras` cameras: half of them visible, the others near-infrared and thermal.

    Each track shows one of `people` people of the pre-training namespace, from which no benchmark set draws; a camera sees nobody twice.
    """
    counts = [round(share * cameras) for share in SHARES]
    counts[0] += cameras - sum(counts)
    named = [(sensor, number) for sensor, count in zip(SENSORS, counts) for number in range(count)]
    tasks = [(how, sensor, number, tracks, frames, people) for sensor, number in named]
    images = _in_parallel(_camera_tracks, tasks, jobs, "render cameras")
    track = np.repeat(np.arange(cameras * tracks), frames)
    return Crops(ImageStore(images, device), track, track // tracks)


def _camera_tracks(task: tuple[Drawing, str, int, int, int, int]) -> np.ndarray:
    how, sensor, number, tracks, frames, people = task
    kind = SENSORS.index(sensor)
    camera = random_camera((how.seed, number, kind), "visible" if kind == 0 else "infrared", thermal=sensor == "thermal")
    seen = np.random.default_rng((how.seed, number, kind)).choice(people, tracks, replace=False).tolist()
    return np.stack(
        [
            render(random_person((how.seed, p)), camera, (how.seed, p, number, frame, kind), how.difficulty, how.size)
            for p in seen
            for frame in range(frames)
        ]
    )


def rendered_people(how: Drawing, people: range, modality: str, count: int, cameras: int, jobs: int, device: torch.device) -> Crops:
    """`count` images of each person, each by a random camera of one modality. Each image is a track of its own."""
    tasks = [(how, p, modality, count, cameras) for p in people]
    images = _in_parallel(_person, tasks, jobs, f"render {modality}")
    return Crops(ImageStore(images, device), np.arange(len(images)), np.zeros(len(images), int), np.repeat(np.arange(len(people)), count))


def _person(task: tuple[Drawing, int, str, int, int]) -> np.ndarray:
    how, number, modality, count, cameras = task
    person, infrared = random_person((how.seed, number)), modality == "infrared"
    which = np.random.default_rng((how.seed, number)).integers(0, cameras, count)
    shots = []
    for i, c in enumerate(which.tolist()):
        camera = random_camera((how.seed, c, infrared), modality)
        shots.append(render(person, camera, (how.seed, number, i, infrared), how.difficulty, how.size))
    return np.stack(shots)


def _in_parallel(function: Callable[[tuple], np.ndarray], tasks: list[tuple], jobs: int, title: str) -> np.ndarray:
    with ProcessPoolExecutor(jobs) as pool:
        done = tqdm(pool.map(function, tasks, chunksize=2), title, len(tasks), disable=None)
        return np.concatenate(list(done))
