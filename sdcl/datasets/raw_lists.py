"""Split files, the images they list, and folders of one camera and identity."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
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
    line = path.read_text(encoding="utf-8", errors="replace").partition("\n")[0]
    words = line.replace(",", " ").split()
    if not words or not all(w.isascii() and w.isdigit() and len(w) <= 9 for w in words):
        raise DataError(
            f"split file {path}, line 1: expected comma-separated identity numbers, got {line[:60]!r}"
        )
    return [int(w) for w in words]


def read_list(path: Path, root: Path) -> list[tuple[int, str, int]]:
    """(line number, image name, label) of a split file.

    Raises:
        DataError: the file is missing, or a line is malformed, names an image twice, or points outside the
            data set.
    """
    _require(path)
    found: dict[str, tuple[int, str, int]] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").split("\n"), start=1):
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
        if name in found:
            raise DataError(
                f"split file {path}, line {number}: {name} was listed in line {found[name][0]} already; "
                f"remove one of them"
            )
        found[name] = (number, name, int(label))
    return list(found.values())


def listed_samples(
    path: Path, root: Path, modality: str, camera_of: Callable[[str], int | None]
) -> tuple[list[Sample], list[str]]:
    """Samples of a split file, and a sentence for each image that it lists and `root` lacks. An identity is
    the label in the file.

    Args:
        camera_of: image name as listed -> camera, or None where the name does not tell.

    Raises:
        DataError: as `read_list`, or a name without a camera.
    """
    rows, absent = [], []
    for number, name, label in read_list(path, root):
        camera = camera_of(name)
        if camera is None:
            raise DataError(
                f"split file {path}, line {number}: {name} does not tell its camera; copy the file from the "
                f"original archive"
            )
        if os.path.isfile(root / name):  # False, not an error, for a name too long for the file system
            rows.append(Sample(str((root / name).absolute()), label, camera, modality))
        else:
            absent.append(f"{path}, line {number}: image {root / name} is not there")
    return in_order(rows), absent


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


def without_images(identities: Iterable[int], samples: dict[str, list[Sample]], where: str) -> list[str]:
    """A sentence with the identities of the split files `where` that have no image, if there are any."""
    absent = sorted(set(identities) - {s.identity for rows in samples.values() for s in rows})
    named = ", ".join(f"{i:04d}" for i in absent[:10])
    return [f"{len(absent)} identities of {where} have no image: {named}"] if absent else []


def _require(path: Path) -> None:
    if not path.is_file():
        raise DataError(
            f"split file {path} is missing; copy the {path.parent.name} folder of the original archive "
            f"beside the images"
        )
