"""RegDB (Nguyen et al., Sensors 2017): the raw layout and its known counts.

idx/{train,test}_{visible,thermal}_{1..10}.txt, a line `relative/path.bmp label` per image. Camera 1 is visible, 2 thermal.
"""

from __future__ import annotations

import os
from pathlib import Path

from sdcl.data.prepare import RawLayout, Split, in_order
from sdcl.data.samples import Sample

TRIALS = tuple(range(1, 11))
WORDS = {"visible": ("visible", 1), "infrared": ("thermal", 2)}  # word in the file names, camera
KNOWN = {
    "train_identities": 206, "train_visible": 2060, "train_infrared": 2060,
    "test_identities": 206, "test_visible": 2060, "test_infrared": 2060,
}  # fmt: skip


def find(data_dir: Path) -> Path | None:
    """The folder with idx: data_dir itself or RegDB below it."""
    return next((root for root in (data_dir, data_dir / "RegDB") if (root / "idx").is_dir()), None)


def read(root: Path, split: str, trial: int) -> tuple[Split, list[str]]:
    """Samples of "train" or "test" of a trial, and listed images that are not there. An identity is the label in the split file.

    Raises:
        ValueError: a missing split file or a malformed line.
    """
    samples: Split = {}
    absent: list[str] = []
    for modality, (word, camera) in WORDS.items():
        path = root / "idx" / f"{split}_{word}_{trial}.txt"
        rows = []
        for number, name, label in read_list(path, root):
            if os.path.isfile(root / name):  # False, not an error, for a name too long for the file system
                rows.append(Sample(str((root / name).absolute()), label, camera, modality))
            else:
                absent.append(f"{path}, line {number}: image {root / name} is not there")
        samples[modality] = in_order(rows)
    return samples, absent


def read_list(path: Path, root: Path) -> list[tuple[int, str, int]]:
    """(line number, image name, label) of a split file.

    Raises:
        ValueError: the file is missing, or a line is malformed, names an image twice, or points outside the data set.
    """
    if not path.is_file():
        raise ValueError(f"split file {path} is missing; copy the idx folder of RegDB beside its images")
    found: dict[str, tuple[int, str, int]] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").split("\n"), start=1):
        name, _, label = line.strip().rpartition(" ")
        name = name.strip()
        if not line.strip():
            continue
        if not name or not (label.isascii() and label.isdigit() and len(label) <= 9) or not name.isprintable():
            raise ValueError(f"split file {path}, line {number}: expected `path label`, got {line[:60]!r}")
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise ValueError(f"split file {path}, line {number}: {name} lies outside {root}")
        if name in found:
            raise ValueError(f"split file {path}, line {number}: {name} was listed in line {found[name][0]} already; remove one of them")
        found[name] = (number, name, int(label))
    return list(found.values())


def differences(train: Split, test: Split) -> list[str]:
    """Images that stand in both splits."""
    both = {s.path for rows in train.values() for s in rows} & {s.path for rows in test.values() for s in rows}
    return [f"{len(both)} images are in the training and in the test list, such as {min(both)}"] if both else []


LAYOUT = RawLayout(
    "regdb", "RegDB", TRIALS, read, find, KNOWN, differences, "the image folders and idx/train_visible_1.txt ... test_thermal_10.txt"
)
