"""RegDB (Nguyen et al., Sensors 2017): split files, known counts, and protocol.

idx/{train,test}_{visible,thermal}_{1..10}.txt, a line `relative/path.bmp label` per image. Camera 1 is
visible, 2 thermal.

Protocol: a model is trained on each of ten splits; all test images of one modality against all of the other,
in both directions; plain CMC; mean of the ten splits.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from sdcl.datasets.base import Dataset, Protocol, ProtocolOptions, whole_galleries
from sdcl.datasets.published import PublishedSource
from sdcl.datasets.raw_lists import listed_samples
from sdcl.datasets.sample import Split

TRIALS = tuple(range(1, 11))
NAMES = {"visible": ("visible", 1), "infrared": ("thermal", 2)}  # name in the split files, camera
KNOWN = {
    "train_identities": 206, "train_visible": 2060, "train_infrared": 2060,
    "test_identities": 206, "test_visible": 2060, "test_infrared": 2060,
}  # fmt: skip


def find(data_dir: Path) -> Path | None:
    """The folder with idx: data_dir itself or RegDB below it."""
    return next((root for root in (data_dir, data_dir / "RegDB") if (root / "idx").is_dir()), None)


def read(root: Path, split: str, trial: int) -> tuple[Split, list[str]]:
    """Samples of "train" or "test" of a trial, and listed images that are not there. An identity is the label
    in the split file.

    Raises:
        DataError: a missing split file or a malformed line.
    """
    samples: Split = {}
    absent: list[str] = []
    for modality, (name, camera) in NAMES.items():
        path = root / "idx" / f"{split}_{name}_{trial}.txt"
        samples[modality], missing = listed_samples(path, root, modality, partial(_camera, camera))
        absent += missing
    return samples, absent


def _camera(camera: int, name: str) -> int:
    return camera


def compare(train: Split, test: Split) -> list[str]:
    """Sentences about images that are listed in both splits, or in the list of the other modality."""
    lines = []
    for name, split in (("training", train), ("test", test)):
        for modality, (word, _) in NAMES.items():
            other = next(w for m, (w, _) in NAMES.items() if m != modality)
            wrong = [s.path for s in split[modality] if other in map(str.lower, Path(s.path).parts[-3:-1])]
            if wrong:
                lines.append(f"the {word} {name} list names {len(wrong)} {other} images, such as {wrong[0]}")
    both = {s.path for rows in train.values() for s in rows} & {
        s.path for rows in test.values() for s in rows
    }
    if both:
        lines.append(f"{len(both)} images are in the training and in the test list, such as {min(both)}")
    return lines


def protocols(dataset: Dataset, options: ProtocolOptions) -> list[Protocol]:
    """Both directions of one trial."""
    return whole_galleries("RegDB", dataset.test, {"visible": "visible", "infrared": "thermal"})


SOURCE = PublishedSource(
    name="regdb",
    title="RegDB",
    aliases=("regdb_rgb",),
    protocols=protocols,
    trials=TRIALS,
    reads=frozenset({"trial", "trials"}),
    read=read,
    find=find,
    known=KNOWN,
    compare=compare,
    expects="the image folders and idx/train_visible_1.txt ... test_thermal_10.txt",
)
