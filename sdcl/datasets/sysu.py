"""SYSU-MM01 (Wu et al., ICCV 2017): folders, known counts, and protocol.

cam{1..6}/IIII/NNNN.jpg and exp/{train,val,test}_id.txt; cameras 1, 2, 4, 5 are visible, 3 and 6 infrared.

Protocol: infrared queries, visible gallery; all-search (cameras 1, 2, 4, 5) and indoor-search (1, 2); one
random image per identity and camera, or several (multi-shot); camera-3 queries do not see camera 2; CMC over
distinct identities; mean of ten gallery draws.
"""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np

from sdcl.datasets.base import (
    Dataset,
    Draw,
    Protocol,
    ProtocolOptions,
    all_rows,
    plural,
    same_room,
    same_room_reversed,
)
from sdcl.datasets.published import PublishedSource
from sdcl.datasets.raw_lists import folder_samples, read_ids, without_images
from sdcl.datasets.sample import Sample, Split, by_identity_and_camera, in_both_splits
from sdcl.runtime.errors import DataError

CAMERAS = {"visible": (1, 2, 4, 5), "infrared": (3, 6)}
GALLERY_CAMERAS = {"all": (1, 2, 4, 5), "indoor": (1, 2)}
SPLIT_FILES = {"train": ("train_id.txt", "val_id.txt"), "test": ("test_id.txt",)}
KNOWN = {
    "train_identities": 395, "train_visible": 22_258, "train_infrared": 11_909,
    "test_identities": 96, "test_visible": 6_775, "test_infrared": 3_803,
}  # fmt: skip
KNOWN_TRAIN_CAMERAS = {
    1: (4721, 194),
    2: (5753, 195),
    3: (7909, 392),
    4: (5811, 382),
    5: (5973, 390),
    6: (4000, 200),
}
KNOWN_GALLERIES = {"all": 301, "indoor": 112}

Permutations = dict[tuple[int, int], np.ndarray]  # (camera, identity) -> int (draws, images), image numbers


def find(data_dir: Path) -> Path | None:
    """The folder with cam1 .. cam6: data_dir itself or SYSU-MM01 below it."""
    for root in (data_dir, data_dir / "SYSU-MM01"):
        if (root / "cam1").is_dir() or (root / "exp" / "test_id.txt").is_file():
            return root
    return None


def read(root: Path, split: str, trial: int = 0) -> tuple[Split, list[str]]:
    """Samples of "train" (training and validation identities, as published methods use them) or "test", and
    identities without any image.

    Raises:
        DataError: a missing or malformed split file.
    """
    identities = sorted({i for name in SPLIT_FILES[split] for i in read_ids(root / "exp" / name)})
    samples = {m: folder_samples(root, cameras, identities, m) for m, cameras in CAMERAS.items()}
    return samples, without_images(identities, samples, " and ".join(SPLIT_FILES[split]))


def compare(train: Split, test: Split) -> list[str]:
    """How cameras, galleries and identities differ from the published data set's known numbers."""
    lines = []
    for camera, (images, identities) in KNOWN_TRAIN_CAMERAS.items():
        samples = [s for rows in train.values() for s in rows if s.camera == camera]
        counts = (len(samples), len({s.identity for s in samples}))
        if counts != (images, identities):
            lines.append(
                f"cam{camera}, training: expected {images:,} images of {identities} identities, found "
                f"{counts[0]:,} of {counts[1]}"
            )
    for mode, expected in KNOWN_GALLERIES.items():
        size = len({(s.identity, s.camera) for s in test["visible"] if s.camera in GALLERY_CAMERAS[mode]})
        if size != expected:
            lines.append(f"{mode}-search gallery: expected {expected} images a draw, found {size}")
    return lines + in_both_splits(train, test)


# ------------------------------------------------------------------ protocol


def protocols(dataset: Dataset, options: ProtocolOptions) -> list[Protocol]:
    """A row for each mode and number of shots, and an extra view from visible to infrared for the report.

    Raises:
        DataError: an unknown mode, no shots, or official draws without a usable exp/rand_perm_cam.mat.
    """
    permutations = None
    if options.official_draws:
        permutations = load_permutations(dataset.data_dir)
        if permutations is None:
            raise DataError(
                f"--official-draws needs {dataset.data_dir}/exp/rand_perm_cam.mat; copy it there from the "
                f"data set"
            )
    infrared = all_rows(dataset.test, "infrared")
    rows = []
    for mode in options.modes:
        for shots in options.shots:
            galleries = [
                draw_gallery(dataset.test["visible"], trial, mode=mode, shots=shots, permutation=permutations)
                for trial in range(options.draws)
            ]
            shot = "single-shot" if shots == 1 else f"{shots}-shot"
            origin = "official rand_perm_cam" if options.official_draws else "seeded"
            rows.append(
                Protocol(
                    f"SYSU-MM01 {mode}-search {shot}, {plural(options.draws, f'{origin} draw')}",
                    "infrared to visible",
                    query="infrared",
                    gallery="visible",
                    removed=same_room,
                    distinct_identities=True,
                    draws=tuple(Draw(infrared, np.array(gallery, np.int64)) for gallery in galleries),
                    note=(
                        f"{mode.capitalize()}-search, {shot}, the first gallery draw; camera 3 does not see "
                        "camera 2, which is in the same room."
                    ),
                )
            )
    return [*rows, _visible_to_infrared(dataset)]


def _visible_to_infrared(dataset: Dataset) -> Protocol:
    return Protocol(
        "SYSU-MM01 visible queries",
        "visible to infrared",
        query="visible",
        gallery="infrared",
        removed=same_room_reversed,
        distinct_identities=True,
        draws=(Draw(all_rows(dataset.test, "visible"), all_rows(dataset.test, "infrared")),),
        extra=True,
        note=(
            "An extra view that the protocol does not have: the gallery is every infrared test image; "
            "camera 2 does not see camera 3."
        ),
    )


def draw_gallery(
    samples: list[Sample],
    trial: int,
    mode: str = "all",
    shots: int = 1,
    permutation: Permutations | None = None,
) -> list[int]:
    """Indices of one gallery draw: `shots` images per identity and camera.

    Without `permutation` this is the draw of the Python evaluators of AGW, ADCA, GUR and SDCL: a Mersenne
    Twister seeded with the trial, identities ascending, cameras in the order 1, 2, 4, 5 (indoor: 1, 2), one
    choice from each sorted file list. They define single-shot only; several shots are drawn here by the same
    generator's `sample`. The global generator is not touched.

    Args:
        samples: visible test samples in their order. trial: 0..9.
        permutation: the official draw (`load_permutations`): image numbers, the first `shots` of the trial's
            row are taken.

    Raises:
        DataError: an unknown mode, no shots, or the permutation names an image that is not there.
    """
    if mode not in GALLERY_CAMERAS or shots < 1:
        raise DataError(
            f"a SYSU-MM01 gallery is of mode {' or '.join(GALLERY_CAMERAS)} with 1 shot or more, got "
            f"{mode!r}, {shots}"
        )
    rng = random.Random(trial)
    drawn: list[int] = []
    for images in by_identity_and_camera(samples, GALLERY_CAMERAS[mode]):
        if permutation is not None:
            drawn += _permuted(samples, images, permutation, trial, shots)
        elif shots == 1:
            drawn.append(rng.choice(images))
        else:
            drawn += rng.sample(images, min(shots, len(images)))
    return drawn


def _permuted(
    samples: list[Sample], images: list[int], permutation: Permutations, trial: int, shots: int
) -> list[int]:
    """Indices of the first `shots` images, of those at `images`, in the official order of a draw."""
    first = samples[images[0]]
    numbers = {int(Path(samples[i].path).stem.rpartition("_")[2]): i for i in images}
    official = permutation.get((first.camera, first.identity))
    if (
        official is None
        or trial >= len(official)
        or not set(official[trial][:shots].tolist()) <= numbers.keys()
    ):
        raise DataError(
            f"rand_perm_cam.mat names images of camera {first.camera}, identity {first.identity:04d}, draw "
            f"{trial}, that the data set does "
            "not have; it belongs to the original SYSU-MM01. Leave --official-draws out to use the seeded "
            "draws"
        )
    return [numbers[n] for n in official[trial][:shots].tolist()]


def load_permutations(data_dir: Path) -> Permutations | None:
    """The official draws of exp/rand_perm_cam.mat: a cell per camera, in it a cell per identity, in it
    (draws, images).

    The numbers are read as file numbers (NNNN.jpg), as the public Python evaluators do; the MATLAB evaluator
    reads them as rows, which is the same where an identity's files are numbered without a gap.

    Returns:
        None when the file is absent.

    Raises:
        DataError: the file is damaged or is another one.
    """
    from scipy.io import loadmat

    path = (find(data_dir) or data_dir) / "exp" / "rand_perm_cam.mat"
    if not path.is_file():
        return None
    try:
        cells = loadmat(path)["rand_perm_cam"].ravel()
        return {
            (camera, identity): np.atleast_2d(numbers).astype(np.int64)
            for camera, of_camera in enumerate(cells, start=1)
            for identity, numbers in enumerate(of_camera.ravel(), start=1)
            if np.size(numbers)
        }
    except Exception as error:  # scipy raises many kinds for a damaged or foreign file
        raise DataError(
            f"{path} is not the official permutation file; copy it from the original archive ({error})"
        ) from None


SOURCE = PublishedSource(
    name="sysu",
    title="SYSU-MM01",
    aliases=("sysu_all",),
    protocols=protocols,
    modes=tuple(GALLERY_CAMERAS),
    reads=frozenset({"modes", "shots", "draws", "official_draws"}),
    shared_identities="error",
    shared_remedy="copy the exp folder from the original archive again",
    read=read,
    find=find,
    known=KNOWN,
    compare=compare,
    expects="cam1 .. cam6 with a folder per identity, and exp/train_id.txt, val_id.txt, test_id.txt",
    extras=("exp/rand_perm_cam.mat",),
)
