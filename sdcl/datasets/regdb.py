"""RegDB (Nguyen et al., Sensors 2017): the raw layout and its known counts.

idx/{train,test}_{visible,thermal}_{1..10}.txt, a line `relative/path.bmp label` per image. Camera 1 is visible, 2 thermal.
"""

from __future__ import annotations

from pathlib import Path

from sdcl.datasets.prepare import RawLayout, Split
from sdcl.datasets.raw_lists import listed_samples

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
        samples[modality], lacking = listed_samples(root / "idx" / f"{split}_{word}_{trial}.txt", root, modality, lambda _, c=camera: c)
        absent += lacking
    return samples, absent


def differences(train: Split, test: Split) -> list[str]:
    """Images that stand in both splits."""
    both = {s.path for rows in train.values() for s in rows} & {s.path for rows in test.values() for s in rows}
    return [f"{len(both)} images are in the training and in the test list, such as {min(both)}"] if both else []


LAYOUT = RawLayout(
    "regdb", "RegDB", TRIALS, read, find, KNOWN, differences, "the image folders and idx/train_visible_1.txt ... test_thermal_10.txt"
)
