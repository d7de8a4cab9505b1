"""Read split files, the images that they list, and folders of one camera and identity."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from sdcl.datasets.images import list_images
from sdcl.datasets.sample import Sample, in_order
from sdcl.runtime.errors import DataError


def read_ids(path: Path) -> list[int]:
    """Identities of the first line of a split file, comma separated.

    Raises:
        DataError: the file is missing, empty or holds something else.
    """
    _require(path)
    line = path.read_text(encoding="utf-8-sig", errors="replace").partition("\n")[0]
    numbers = line.replace(",", " ").split()
    if not numbers or not all(n.isascii() and n.isdigit() and len(n) <= 9 for n in numbers):
        raise DataError(
            f"split file {path}, line 1: expected comma-separated identity numbers, got {line[:60]!r}"
        )
    return [int(n) for n in numbers]


def read_list(path: Path, root: Path) -> list[tuple[int, str, int]]:
    """(line number, image name, label) of a split file.

    Raises:
        DataError: the file is missing, or a line is malformed, names an image twice, or points outside the
            data set.
    """
    _require(path)
    entries: dict[str, tuple[int, str, int]] = {}  # by image name
    for number, line in enumerate(
        path.read_text(encoding="utf-8-sig", errors="replace").split("\n"), start=1
    ):
        name, _, label = line.strip().rpartition(" ")
        name = name.strip()
        if not line.strip():
            continue
        if (
            not name
            or not (label.isascii() and label.isdigit() and len(label) <= 9)
            or not name.isprintable()
        ):
            raise DataError(f"split file {path}, line {number}: expected `path label`, got {line[:60]!r}")
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise DataError(f"split file {path}, line {number}: {name} lies outside {root}")
        if name in entries:
            raise DataError(
                f"split file {path}, line {number}: {name} was listed in line {entries[name][0]} already; "
                f"remove one of them"
            )
        entries[name] = (number, name, int(label))
    return list(entries.values())


def read_lines(path: Path) -> list[str]:
    """The lines of a split file without the spaces around them. Raises DataError: the file is missing."""
    _require(path)
    return [line.strip() for line in path.read_text(encoding="utf-8-sig", errors="replace").splitlines()]


def read_numbers(path: Path) -> Iterator[tuple[int, list[int]]]:
    """(line number, numbers) of each line of a split file, separated by spaces or commas.

    Raises:
        DataError: the file is missing or holds something else.
    """
    for number, line in enumerate(read_lines(path), start=1):
        words = line.replace(",", " ").split()
        if not all(w.isascii() and w.isdigit() and len(w) <= 9 for w in words):
            raise DataError(f"split file {path}, line {number}: expected numbers, got {line[:60]!r}")
        if words:
            yield number, [int(w) for w in words]


def listed_samples(
    path: Path, root: Path, modality: str, camera_of: Callable[[str], int | None]
) -> tuple[list[Sample], list[str]]:
    """Samples of a split file, and a sentence for each image that it lists and `root` lacks. An identity is
    the label in the file.

    Args:
        camera_of: image name as listed -> camera, or None where the name holds none.

    Raises:
        DataError: as `read_list`, or a name without a camera.
    """
    samples, absent = [], []
    folders: dict[str, int] = {}  # folders that are not there -> images listed in them
    for number, name, label in read_list(path, root):
        camera = camera_of(name)
        if camera is None:
            raise DataError(
                f"split file {path}, line {number}: {name} names no camera; copy the file "
                "from the original archive"
            )
        if os.path.isfile(root / name):  # False, not an error, for a name too long for the file system
            samples.append(Sample(str((root / name).absolute()), label, camera, modality))
        elif (folder := name.partition("/")[0]) != name and not (root / folder).is_dir():
            folders[folder] = folders.get(folder, 0) + 1
        else:
            absent.append(f"{path}, line {number}: image {root / name} is not there")
    for folder, count in folders.items():
        absent.append(
            f"{path}: {count} images are listed in {folder}, and there is no folder {root / folder}"
        )
    return in_order(samples), absent


def folder_samples(
    root: Path, cameras: Iterable[int], identities: Iterable[int], modality: str
) -> list[Sample]:
    """Samples of ROOT/camC/IIII for these cameras and identities; folders may be missing."""
    folders = [(i, c, root / f"cam{c}" / f"{i:04d}") for c in cameras for i in identities]
    return in_order(
        Sample(str(p.absolute()), i, c, modality)
        for i, c, folder in folders
        if folder.is_dir()
        for p in list_images(folder)
    )


def without_images(identities: Iterable[int], samples: dict[str, list[Sample]], files: str) -> list[str]:
    """A sentence with the identities that have no image, if there are any.

    `files`: names of their split files.
    """
    absent = sorted(set(identities) - {s.identity for split in samples.values() for s in split})
    named = ", ".join(f"{i:04d}" for i in absent[:10])
    return [f"{len(absent)} identities of {files} have no image: {named}"] if absent else []


def _require(path: Path) -> None:
    if not path.is_file():
        raise DataError(
            f"split file {path} is missing; copy the {path.parent.name} folder of the original archive "
            f"beside the images"
        )
