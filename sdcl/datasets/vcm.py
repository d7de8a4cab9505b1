"""HITSZ-VCM (Lin et al., CVPR 2022): tracks of frames, known counts, and protocol.

    info/{train,test}_name.txt          a frame name a line, such as 0001M2D3T1F1.jpg: person 1, visible
                                        (M2; M1 is infrared), camera 3, track 1, frame 1, which is the file
                                        {Train,Test}/0001/rgb/D3/1.jpg
    info/track_{train,test}_info.txt    rows "modality first last person camera": a track's lines of the name
                                        file, from 1, both included
    info/query_IDX.txt                  rows of the test tracks, from 1: the infrared ones

Tracks of fewer than 12 frames are left out of training and test, as in the readers of published methods: the
lists have 11,061 and 10,802 tracks (5,159 infrared, 5,643 visible). The counts below are those of such a
reader. A camera has one number in both modalities.

Protocol: all infrared tracks query all visible ones, and the reverse; a query does not see its own identity
in its own camera; the CMC counts tracks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from sdcl.datasets.base import Dataset, Protocol, ProtocolOptions, same_identity_and_camera
from sdcl.datasets.published import PublishedSource
from sdcl.datasets.raw_lists import read_lines, read_numbers
from sdcl.datasets.sample import Sample, Split, in_both_splits
from sdcl.datasets.tracks import track_protocols
from sdcl.runtime.errors import DataError

MODALITY_OF = {1: "infrared", 2: "visible"}  # first number of a track's row
NAME = re.compile(r"([0-9]{1,9})M([12])D([0-9]{1,3})T[0-9]{1,9}F([0-9]{1,9}\.[A-Za-z]{3,4})")
FOLDER_OF = {"1": "ir", "2": "rgb"}
MIN_FRAMES = 12
KNOWN = {
    "train_identities": 500, "train_visible": 126_543, "train_infrared": 98_214,
    "train_visible_tracks": 5_460, "train_infrared_tracks": 4_291,
    "test_identities": 427, "test_visible": 118_137, "test_infrared": 105_979,
    "test_visible_tracks": 5_099, "test_infrared_tracks": 4_584,
}  # fmt: skip


def find(data_dir: Path) -> Path | None:
    """The folder with info: data_dir itself or HITSZ-VCM below it."""
    for root in (data_dir, data_dir / "HITSZ-VCM"):
        if (root / "info" / "track_train_info.txt").is_file() or (root / "info" / "train_name.txt").is_file():
            return root
    return None


def read(root: Path, split: str, trial: int = 0) -> tuple[Split, list[str]]:
    """All frames of "train" or "test", a track's in their order; tracks are numbered by their rows.

    Raises:
        DataError: a missing or malformed list, or a row that names frames which the name file does not have.
    """
    info, folder = root / "info", (root / split.capitalize()).absolute()
    name_file = info / f"{split}_name.txt"
    names = read_lines(name_file)
    frames: Split = {m: [] for m in MODALITY_OF.values()}
    infrared = set()
    for row, (kind, first, last, identity, camera) in read_tracks(info / f"track_{split}_info.txt"):
        if last > len(names):
            raise DataError(
                f"split file {info / f'track_{split}_info.txt'}, line {row}: the track has frames {first} to "
                f"{last}, and {name_file} has {len(names)} lines; copy both from the original archive"
            )
        if kind == 1:
            infrared.add(row)
        if last - first + 1 < MIN_FRAMES:
            continue
        m = MODALITY_OF[kind]
        for line in range(first, last + 1):
            path = f"{folder}/{file_of(names[line - 1], name_file, line)}"
            frames[m].append(Sample(path, identity, camera, m, row))
    return frames, _queries_differ(info / "query_IDX.txt", infrared) if split == "test" else []


def read_tracks(path: Path) -> Iterator[tuple[int, list[int]]]:
    """(row from 1, [modality, first line, last line, identity, camera]) of each track. Raises DataError."""
    for row, numbers in read_numbers(path):
        if len(numbers) != 5 or numbers[0] not in MODALITY_OF or not 1 <= numbers[1] <= numbers[2]:
            raise DataError(
                f"split file {path}, line {row}: expected `modality first last person camera` with modality "
                f"1 or 2 and first at most last, got {' '.join(map(str, numbers))[:60]!r}"
            )
        yield row, numbers


def file_of(name: str, path: Path, line: int) -> str:
    """The file of a frame below its split's folder, by its name in line
    `line` of `path`. Raises DataError.
    """
    match = NAME.fullmatch(name)
    if not match:
        raise DataError(
            f"split file {path}, line {line}: expected a frame name such as "
            f"0001M2D3T1F1.jpg, got {name[:60]!r}"
        )
    person, kind, camera, file = match.groups()
    return f"{person}/{FOLDER_OF[kind]}/D{camera}/{file}"


def _queries_differ(path: Path, infrared: set[int]) -> list[str]:
    """A sentence if the listed queries are not the infrared tracks, which the protocol takes."""
    listed = {number for _, numbers in read_numbers(path) for number in numbers}
    if listed == infrared:
        return []
    return [
        f"{path} lists {len(listed - infrared)} tracks that are not infrared and lacks "
        f"{len(infrared - listed)} infrared ones; its {len(listed)} queries should be the infrared tracks"
    ]


def protocols(dataset: Dataset, options: ProtocolOptions) -> list[Protocol]:
    """Tracks and single frames, in both directions."""
    return track_protocols(
        "HITSZ-VCM",
        dataset.test,
        removed=same_identity_and_camera,
        listed_queries=False,
        note="A query does not see its own identity in its own camera.",
    )


SOURCE = PublishedSource(
    name="vcm",
    title="HITSZ-VCM",
    protocols=protocols,
    recipe_of="sysu",
    shared_identities="error",
    shared_remedy="copy the info folder from the original archive again",
    read=read,
    find=find,
    known=KNOWN,
    compare=in_both_splits,
    expects="Train and Test with a folder per person, and info with its five lists",
    every=8,
)
