"""SYSU-MM01 (Wu et al., ICCV 2017): the raw layout, its known counts, and the galleries of its protocol.

cam{1..6}/IIII/NNNN.jpg and exp/{train,val,test}_id.txt; cameras 1, 2, 4, 5 are visible, 3 and 6 infrared.
"""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np

from sdcl.datasets.prepare import RawLayout, Split
from sdcl.datasets.raw_lists import folder_samples, read_ids, without_images
from sdcl.datasets.sample import Sample, by_identity_and_camera
from sdcl.runtime.errors import DataError

CAMERAS = {"visible": (1, 2, 4, 5), "infrared": (3, 6)}
GALLERY_CAMERAS = {"all": (1, 2, 4, 5), "indoor": (1, 2)}
SPLIT_FILES = {"train": ("train_id.txt", "val_id.txt"), "test": ("test_id.txt",)}
KNOWN = {
    "train_identities": 395, "train_visible": 22_258, "train_infrared": 11_909,
    "test_identities": 96, "test_visible": 6_775, "test_infrared": 3_803,
}  # fmt: skip
KNOWN_TRAIN_CAMERAS = {1: (4721, 194), 2: (5753, 195), 3: (7909, 392), 4: (5811, 382), 5: (5973, 390), 6: (4000, 200)}
KNOWN_GALLERIES = {"all": 301, "indoor": 112}

Permutations = dict[tuple[int, int], np.ndarray]  # (camera, identity) -> int (draws, images), image numbers


def find(data_dir: Path) -> Path | None:
    """The folder with cam1 .. cam6: data_dir itself or SYSU-MM01 below it."""
    for root in (data_dir, data_dir / "SYSU-MM01"):
        if (root / "cam1").is_dir() or (root / "exp" / "test_id.txt").is_file():
            return root
    return None


def read(root: Path, split: str, trial: int = 0) -> tuple[Split, list[str]]:
    """Samples of "train" (training and validation identities, as everybody trains) or "test", and identities without any image.

    Raises:
        ValueError: a missing or malformed split file.
    """
    identities = sorted({i for name in SPLIT_FILES[split] for i in read_ids(root / "exp" / name)})
    samples = {m: folder_samples(root, cameras, identities, m) for m, cameras in CAMERAS.items()}
    return samples, without_images(identities, samples, " and ".join(SPLIT_FILES[split]))


def differences(train: Split, test: Split) -> list[str]:
    """How cameras, galleries and people differ from the real data set's known numbers."""
    lines = []
    for camera, (images, people) in KNOWN_TRAIN_CAMERAS.items():
        rows = [s for samples in train.values() for s in samples if s.camera == camera]
        found = (len(rows), len({s.identity for s in rows}))
        if found != (images, people):
            lines.append(f"cam{camera}, training: expected {images:,} images of {people} identities, found {found[0]:,} of {found[1]}")
    for mode, size in KNOWN_GALLERIES.items():
        found_size = len({(s.identity, s.camera) for s in test["visible"] if s.camera in GALLERY_CAMERAS[mode]})
        if found_size != size:
            lines.append(f"{mode}-search gallery: expected {size} images a draw, found {found_size}")
    both = {s.identity for rows in train.values() for s in rows} & {s.identity for rows in test.values() for s in rows}
    if both:
        lines.append(f"{len(both)} identities are in the training and in the test split: {sorted(both)[:10]}")
    return lines


LAYOUT = RawLayout(
    "sysu", "SYSU-MM01", (0,), read, find, KNOWN, differences,
    "cam1 .. cam6 with a folder per identity, and exp/train_id.txt, val_id.txt, test_id.txt", ("exp/rand_perm_cam.mat",),
)  # fmt: skip


# ------------------------------------------------------------------ protocol


def draw_gallery(
    samples: list[Sample], trial: int, mode: str = "all", shots: int = 1, permutation: Permutations | None = None
) -> list[int]:
    """Rows of one gallery draw: `shots` images per identity and camera.

    Without `permutation` this is the draw of the family's Python evaluators: a Mersenne Twister seeded with the trial, identities
    ascending, cameras in the order 1, 2, 4, 5 (indoor: 1, 2), one choice from each sorted file list. They define single-shot only;
    several shots are drawn here by the same generator's `sample`. The global generator is not touched.

    Args:
        samples: visible test samples in their order. trial: 0..9.
        permutation: the official draw (`load_permutations`): image numbers, the first `shots` of the trial's row are taken.

    Raises:
        ValueError: an unknown mode, no shots, or the permutation names an image that is not there.
    """
    if mode not in GALLERY_CAMERAS or shots < 1:
        raise DataError(f"a SYSU-MM01 gallery is of mode {' or '.join(GALLERY_CAMERAS)} with 1 shot or more, got {mode!r}, {shots}")
    rng = random.Random(trial)
    drawn: list[int] = []
    for rows in by_identity_and_camera(samples, GALLERY_CAMERAS[mode]):
        if permutation is not None:
            drawn += _permuted(samples, rows, permutation, trial, shots)
        elif shots == 1:
            drawn.append(rng.choice(rows))
        else:
            drawn += rng.sample(rows, min(shots, len(rows)))
    return drawn


def _permuted(samples: list[Sample], rows: list[int], permutation: Permutations, trial: int, shots: int) -> list[int]:
    first = samples[rows[0]]
    numbers = {int(Path(samples[r].path).stem.rpartition("_")[2]): r for r in rows}
    official = permutation.get((first.camera, first.identity))
    if official is None or trial >= len(official) or not set(official[trial][:shots].tolist()) <= numbers.keys():
        raise DataError(
            f"rand_perm_cam.mat names images of camera {first.camera}, identity {first.identity:04d}, draw {trial}, that the data set does "
            "not have; it belongs to the original SYSU-MM01. Leave --official-draws out to use the seeded draws"
        )
    return [numbers[n] for n in official[trial][:shots].tolist()]


def load_permutations(data_dir: Path) -> Permutations | None:
    """The official draws of exp/rand_perm_cam.mat: a cell per camera, in it a cell per identity, in it (draws, images).

    The numbers are read as file numbers (NNNN.jpg), as the public Python evaluators do; the MATLAB evaluator reads them as rows, which
    is the same where an identity's files are numbered without a gap.

    Returns:
        None when the file is absent.
    """
    from scipy.io import loadmat

    path = (find(data_dir) or data_dir) / "exp" / "rand_perm_cam.mat"
    if not path.is_file():
        return None
    try:
        cells = loadmat(path)["rand_perm_cam"].ravel()
        return {
            (camera, identity): np.atleast_2d(numbers).astype(np.int64)
            for camera, people in enumerate(cells, start=1)
            for identity, numbers in enumerate(people.ravel(), start=1)
            if np.size(numbers)
        }
    except Exception as error:  # scipy raises many kinds for a damaged or foreign file
        raise DataError(f"{path} is not the official permutation file: {error}") from None
