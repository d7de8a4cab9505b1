"""RegDB (Nguyen et al., Sensors 2017): the raw layout and its known counts.

idx/{train,test}_{visible,thermal}_{1..10}.txt, a line `relative/path.bmp label` per image. Camera 1 is visible, 2 thermal.
"""

from __future__ import annotations

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


def read(root: Path, split: str, trial: int) -> Split:
    """Samples of "train" or "test" of a trial; an identity is the label in the split file.

    Raises:
        ValueError: a missing split file, a malformed line, or an image that is not there.
    """
    return {m: in_order(_read_list(root, root / "idx" / f"{split}_{word}_{trial}.txt", m, c)) for m, (word, c) in WORDS.items()}


def _read_list(root: Path, path: Path, modality: str, camera: int) -> list[Sample]:
    if not path.is_file():
        raise ValueError(f"split file {path} is missing; copy the idx folder of RegDB beside its images")
    samples = []
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        if not line.strip():
            continue
        name, _, label = line.strip().rpartition(" ")
        if not name or not label.isdigit():
            raise ValueError(f"split file {path}, line {number}: expected `path label`, got {line[:60]!r}")
        image = root / name.strip()
        if root.resolve() not in image.resolve().parents:
            raise ValueError(f"split file {path}, line {number}: {name.strip()} lies outside {root}")
        if not image.is_file():
            raise ValueError(f"split file {path}, line {number}: image {image} is not there; unpack the original archive again")
        samples.append(Sample(str(image.absolute()), int(label), camera, modality))
    return samples


def differences(root: Path, train: Split, test: Split) -> list[str]:
    """Images that stand in both splits."""
    both = {s.path for rows in train.values() for s in rows} & {s.path for rows in test.values() for s in rows}
    return [f"{len(both)} images are in the training and in the test list, such as {min(both)}"] if both else []


LAYOUT = RawLayout("RegDB", TRIALS, read, find, KNOWN, differences, "the image folders and idx/train_visible_1.txt ... test_thermal_10.txt")
