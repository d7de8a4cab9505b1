"""LLCM (Zhang and Wang, CVPR 2023): folders and split files, known counts, and protocol.

    idx/train_vis.txt, idx/train_nir.txt      a line `path label` per image, such as
                                              nir/0001/0001_c01_s185535_f7010_nir.jpg
    idx/test_id.txt                           comma-separated identity numbers
    test_vis/camC/IIII/, test_nir/camC/IIII/  test images; visible: cameras 1 to 9, near-infrared: all but 3

A camera has one number in both modalities, as the protocol needs it. In the training lists it stands in a
folder name (cam1) or in the file name (_c01_); the folder of an image is its person's number, of which there
are 1,064 over both splits.

Protocol: all test images of one modality query one random image per identity and camera of the other, in both
directions; a query does not see its own identity in its own camera; CMC over distinct identities; mean of ten
draws. The released test program, asked for visible to infrared, swaps the two: its queries are the drawn
infrared images, its gallery all visible ones. Papers report either as "visible to infrared", so both are
computed, and their names say which is which.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sdcl.datasets.base import (
    Dataset,
    Draw,
    Protocol,
    ProtocolOptions,
    all_rows,
    plural,
    same_identity_and_camera,
)
from sdcl.datasets.published import PublishedSource
from sdcl.datasets.raw_lists import folder_samples, listed_samples, read_ids, without_images
from sdcl.datasets.sample import Sample, Split, by_identity_and_camera

WORDS = {"visible": "vis", "infrared": "nir"}
CAMERAS = {"visible": (1, 2, 3, 4, 5, 6, 7, 8, 9), "infrared": (1, 2, 4, 5, 6, 7, 8, 9)}
CAMERA = re.compile(r"(?:^|/)cam([0-9]{1,2})/|_c([0-9]{1,2})_")
KNOWN = {
    "train_identities": 713, "train_visible": 16_946, "train_infrared": 13_975,
    "test_identities": 351, "test_visible": 8_680, "test_infrared": 7_166,
}  # fmt: skip


def find(data_dir: Path) -> Path | None:
    """The folder with idx and test_vis: data_dir itself or LLCM below it."""
    for root in (data_dir, data_dir / "LLCM"):
        if (root / "idx" / "test_id.txt").is_file() or (root / "test_vis").is_dir():
            return root
    return None


def read(root: Path, split: str, trial: int = 0) -> tuple[Split, list[str]]:
    """Samples of "train" or "test", and what the split files name but the folders lack.

    An identity is the label of the list in training, and the number of the folder in the test.

    Raises:
        DataError: a missing or malformed split file.
    """
    if split == "train":
        both = {
            m: listed_samples(root / "idx" / f"train_{word}.txt", root, m, camera_of)
            for m, word in WORDS.items()
        }
        return {m: samples for m, (samples, _) in both.items()}, [
            line for _, absent in both.values() for line in absent
        ]
    identities = sorted(set(read_ids(root / "idx" / "test_id.txt")))
    samples = {
        m: folder_samples(root / f"test_{word}", CAMERAS[m], identities, m) for m, word in WORDS.items()
    }
    return samples, without_images(identities, samples, "test_id.txt")


def camera_of(name: str) -> int | None:
    """Camera of an image by its listed name: folder camC, else _cCC_ in the file name."""
    match = CAMERA.search(name)
    return int(match[1] or match[2]) if match else None


def compare(train: Split, test: Split) -> list[str]:
    """Cameras that LLCM does not have, and people, by the folders of their images, who are in both splits."""
    lines = []
    for split, samples in (("training", train), ("test", test)):
        for m, cameras in CAMERAS.items():
            others = sorted({s.camera for s in samples[m]} - set(cameras))
            if others:
                lines.append(
                    f"{split}: {m} images of camera {', '.join(map(str, others))}; LLCM's are "
                    f"{', '.join(map(str, cameras))}"
                )
    both = _people(train) & _people(test)
    if both:
        lines.append(
            f"{len(both)} people are in the training and in the test split: {', '.join(sorted(both)[:10])}"
        )
    return lines


def _people(samples: Split) -> set[str]:
    """Numbers of the folders that the images lie in; none of a prepared layout."""
    return {name for split in samples.values() for s in split if (name := Path(s.path).parent.name).isdigit()}


# ------------------------------------------------------------------ protocol

# (what is drawn, for the protocol's name; the side of the comparison that it is; query modality; gallery
# modality) of each row of the results table.
ROWS = (
    ("drawn gallery", "gallery", "visible", "infrared"),
    ("drawn gallery", "gallery", "infrared", "visible"),
    ("drawn queries (visible to infrared of the released code)", "query", "infrared", "visible"),
)


def protocols(dataset: Dataset, options: ProtocolOptions) -> list[Protocol]:
    """Both directions with a drawn gallery, and the released code's drawn queries."""
    test, protocols = dataset.test, []
    for title, drawn, query, gallery in ROWS:
        draws = []
        for trial in range(options.draws):
            sides = {"query": all_rows(test, query), "gallery": all_rows(test, gallery)}
            sides[drawn] = np.array(draw(test[query if drawn == "query" else gallery], trial), np.int64)
            draws.append(Draw(**sides))
        protocols.append(
            Protocol(
                f"LLCM {title}, {plural(options.draws, 'seeded draw')}",
                f"{query} to {gallery}",
                query=query,
                gallery=gallery,
                removed=same_identity_and_camera,
                distinct_identities=True,
                draws=tuple(draws),
                note=f"The first {drawn} draw; a query does not see its own identity in its own camera.",
            )
        )
    return protocols


def draw(samples: Sequence[Sample], trial: int) -> list[int]:
    """Indices of one draw of a modality's test images: one for each identity and camera.

    The draw of the data set's released evaluator: a Mersenne Twister seeded with the trial, identities
    ascending, cameras ascending, one choice from each sorted file list. The global generator is not touched.
    """
    rng = random.Random(trial)
    return [rng.choice(images) for images in by_identity_and_camera(samples, CAMERAS["visible"])]


SOURCE = PublishedSource(
    name="llcm",
    title="LLCM",
    protocols=protocols,
    reads=frozenset({"draws"}),
    recipe_of="sysu",
    read=read,
    find=find,
    known=KNOWN,
    compare=compare,
    expects="vis, nir, test_vis and test_nir, and idx/train_vis.txt, train_nir.txt, test_id.txt",
)
