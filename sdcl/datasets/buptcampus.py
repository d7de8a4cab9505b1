"""BUPTCampus (Du et al., TIFS 2023): tracks of frames, known counts, and protocol.

    DATA/PERSON/{RGB,IR,FakeIR}/CAMERA/*.jpg        FakeIR, generated images, is not read
    data_paths.json                                 person -> modality -> camera -> track -> files below DATA,
                                                    in the order of the frames
    train.txt, query.txt, gallery.txt               rows "person modality camera track"; training rows are of
                                                    modality RGB/IR, a track of each
    train_auxiliary.txt                             930 people of one camera each: not read, as most published
                                                    methods do without them

The frames of a training row's two tracks were taken at the same instants of the same person. Nothing here
tells a method so: it gets images and cameras, and the tracks of a modality are numbered on their own.

Protocol: the listed queries of one modality search the listed gallery of the other, in both directions;
nothing is removed; the CMC counts tracks.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sdcl.datasets.base import Dataset, Protocol, ProtocolOptions
from sdcl.datasets.published import PublishedSource
from sdcl.datasets.raw_lists import read_lines
from sdcl.datasets.sample import MODALITIES, Sample, Split, in_both_splits
from sdcl.datasets.tracks import track_protocols
from sdcl.runtime.errors import DataError

CAMERAS = {"LS3": 1, "G25": 2, "CQ1": 3, "W4": 4, "TSG1": 5, "TSG2": 6}
MODALITIES_OF = {"RGB": ("visible",), "IR": ("infrared",), "RGB/IR": MODALITIES}
WORDS = {"visible": "RGB", "infrared": "IR"}
LISTS = {"train": ("train.txt",), "test": ("query.txt", "gallery.txt")}
KNOWN = {
    "train_identities": 1_074, "train_visible": 398_069, "train_infrared": 398_069,
    "train_visible_tracks": 3_574, "train_infrared_tracks": 3_574,
    "test_identities": 1_076, "test_visible": 347_292, "test_infrared": 352_188,
    "test_visible_tracks": 2_962, "test_infrared_tracks": 2_958,
}  # fmt: skip
KNOWN_QUERIES = {"visible": 540, "infrared": 536}


def find(data_dir: Path) -> Path | None:
    """The folder with data_paths.json: data_dir itself or BUPTCampus below it."""
    for root in (data_dir, data_dir / "BUPTCampus"):
        if (root / "data_paths.json").is_file() or (root / "DATA").is_dir():
            return root
    return None


def read(root: Path, split: str, trial: int = 0) -> tuple[Split, list[str]]:
    """All frames of "train" or "test", a track's in their order; tracks are numbered by their rows, those
    of gallery.txt after those of query.txt.

    Raises:
        DataError: a missing or malformed list, or a row that data_paths.json does not have.
    """
    path, folder = root / "data_paths.json", (root / "DATA").absolute()
    files = _read_table(path)
    frames: Split = {m: [] for m in MODALITIES}
    track = 0
    for name in LISTS[split]:
        for line, person, modalities, camera, number in read_rows(root / name):
            track += 1
            for m in modalities:
                listed = _listed(files, person, WORDS[m], camera, number)
                if listed is None:
                    raise DataError(
                        f"split file {root / name}, line {line}: {path} has no track {number} of person "
                        f"{person}, {WORDS[m]}, camera {camera}; copy both from the original archive"
                    )
                facts = (int(person), CAMERAS[camera], m, track, name == "query.txt")
                frames[m] += [Sample(f"{folder}/{file}", *facts) for file in listed]
    return frames, []


def read_rows(path: Path) -> Iterator[tuple[int, str, tuple[str, ...], str, str]]:
    """(line, person, modalities, camera, track) of each row of a list. Raises DataError."""
    for number, line in enumerate(read_lines(path), start=1):
        row = line.split()
        if not row:
            continue
        if (
            len(row) != 4
            or not (row[0].isascii() and row[0].isdigit() and len(row[0]) <= 9)
            or row[1] not in MODALITIES_OF
            or row[2] not in CAMERAS
        ):
            raise DataError(
                f"split file {path}, line {number}: expected `person modality camera track` with modality "
                f"{', '.join(MODALITIES_OF)} and camera {', '.join(CAMERAS)}, got {line[:60]!r}"
            )
        yield number, row[0], MODALITIES_OF[row[1]], row[2], row[3]


def _read_table(path: Path) -> dict[str, Any]:
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path} is missing; copy it from the original archive") from None
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read ({error}); copy it from the original archive") from None
    if not isinstance(table, dict):
        raise DataError(f"{path} holds no table of people; copy it from the original archive")
    return table


def _listed(files: dict[str, Any], *keys: str) -> list[str] | None:
    """The files of a track, None if the table does not have it or holds something else."""
    value: Any = files
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    if not isinstance(value, list) or not value:
        return None
    return value if all(isinstance(file, str) and _inside(file) for file in value) else None


def _inside(file: str) -> bool:
    return not file.startswith("/") and ".." not in file.split("/")


def compare(train: Split, test: Split) -> list[str]:
    """How queries and identities differ from the published data set's known numbers."""
    lines = []
    for m, expected in KNOWN_QUERIES.items():
        queries = len({s.track for s in test[m] if s.query})
        if queries != expected:
            lines.append(f"query.txt: expected {expected} {m} tracks, found {queries}")
    return lines + in_both_splits(train, test)


def protocols(dataset: Dataset, options: ProtocolOptions) -> list[Protocol]:
    """Tracks and single frames, in both directions."""
    return track_protocols(
        "BUPTCampus", dataset.test, removed=None, listed_queries=True, note="The listed gallery."
    )


SOURCE = PublishedSource(
    name="buptcampus",
    title="BUPTCampus",
    protocols=protocols,
    recipe_of="sysu",
    shared_identities="error",
    shared_remedy="copy the lists from the original archive again",
    read=read,
    find=find,
    known=KNOWN,
    compare=compare,
    expects="DATA, data_paths.json, train.txt, query.txt and gallery.txt",
    every=25,
)
