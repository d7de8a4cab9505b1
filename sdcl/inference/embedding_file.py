"""A file of embeddings kept up to date: only new and changed images are embedded, a stopped run continues.

    FILE            the embeddings, with the size and modification time of each image (`embeddings.py`)
    FILE.parts/     while images are embedded: what is done so far, in files of the same format

Rows are taken over only where the weights, the preprocessing, the precision and the image file are the same.
Two processes may work on one file: both compute, each writes parts of its own name, the file is always whole.

N images, D dimensions.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from sdcl.inference.embeddings import (
    Embeddings,
    about_embedding,
    embedded_chunks,
    images_below,
    load_embeddings,
    report_unreadable,
    save_embeddings,
)
from sdcl.inference.trained_model import TrainedModel
from sdcl.runtime.errors import DataError, UserError
from sdcl.runtime.files import printable

PART = 128  # images between two saves, and at most in a batch
Progress = Callable[[int, int], None]  # images done, images to do; may raise to stop
Stamp = tuple[int, int]  # size, modification time in ns


def update_embeddings(
    trained: TrainedModel,
    folder: Path | str,
    modality: str,
    file: Path,
    *,
    batch_size: int = 128,
    precision: str = "fp32",
    workers: int = 4,
    skip_unreadable: bool = False,
    anew: bool = False,
    paths: Sequence[str] | None = None,
    progress: Progress | None = None,
    guard: AbstractContextManager[Any] | None = None,
) -> Embeddings:
    """Embed the images below a folder into a file, taking over what it holds of unchanged images.

    Args:
        folder, modality, batch_size, precision, workers, skip_unreadable: as in `embed_folder`.
        file: .npz or .safetensors; written when it changes.
        anew: take nothing over.
        paths: of images below the folder; None: all.
        progress: called after each part; what it raises ends the work, and the next call continues it.
        guard: held while the model computes a batch; what it raises ends the work as well.

    Raises:
        DataError: no images, or unreadable ones (each is named) without `skip_unreadable`; parts stay.
        WeightError: features that are not finite. OutputError: the file cannot be written.
    """
    root, listed = images_below(Path(folder)) if paths is None else (Path(folder), list(paths))
    about = about_embedding(trained, root, modality, precision)
    parts = file.with_name(file.name + ".parts")
    if anew:
        _remove(parts)
    stamps = {path: _stamp(root / path) for path in listed}
    before, known = (None, {}) if anew else _known(file, parts, about)
    rows = {path: known[path][1] for path in listed if path in known and known[path][0] == stamps[path]}
    todo = [path for path in listed if path not in rows]
    unreadable: list[str] = []
    chunks = embedded_chunks(
        trained,
        root,
        todo,
        modality,
        batch_size,
        precision,
        workers,
        skip_unreadable=skip_unreadable,
        size=PART,
        guard=guard,
    )
    if progress:
        progress(len(rows), len(listed))
    with tqdm(total=len(todo), desc=f"embed {modality}", unit="image", disable=None, leave=False) as bar:
        for number, chunk in enumerate(chunks, _next_number(parts)):
            unreadable += chunk.errors
            rows |= dict(zip(chunk.paths, chunk.rows))
            if chunk.paths:
                kept = np.array([stamps[path] for path in chunk.paths], np.int64)
                part = parts / f"{number:06d}_{os.getpid()}.npz"
                save_embeddings(part, Embeddings(chunk.rows, chunk.paths, about, kept))
            bar.update(len(chunk.paths) + len(chunk.errors))
            if progress:
                progress(len(rows) + len(unreadable), len(listed))
    report_unreadable(unreadable, skip_unreadable)
    if not rows:
        raise DataError(f"none of the {len(listed)} images below {printable(folder)} can be decoded")
    order = [path for path in listed if path in rows]
    if before is None or todo or before.paths != order:
        array = np.stack([rows[path] for path in order])
        before = Embeddings(array, order, about, np.array([stamps[path] for path in order], np.int64))
        save_embeddings(file, before)
    _remove(parts)
    return before


def _known(
    file: Path, parts: Path, about: dict[str, Any]
) -> tuple[Embeddings | None, dict[str, tuple[Stamp, np.ndarray]]]:
    """What the file holds, None if nothing that can be taken over, and path -> (stamp, row (D,)) of it and
    of the parts, of which the last counts.
    """
    whole = _usable(file, about)
    found = [whole, *(_usable(part, about) for part in sorted(parts.glob("*.npz")))]
    known: dict[str, tuple[Stamp, np.ndarray]] = {}
    for one in found:
        if one is not None and one.stamps is not None:
            stamps = [(int(size), int(time)) for size, time in one.stamps]
            known |= dict(zip(one.paths, zip(stamps, one.rows)))
    return whole, known


def _usable(file: Path, about: dict[str, Any]) -> Embeddings | None:
    """The embeddings of a file that were made in the same way, with stamps; else None."""
    try:
        embeddings = load_embeddings(file) if file.is_file() else None
    except UserError:  # damaged, or of another program: its images are embedded again
        return None
    if embeddings is None or embeddings.stamps is None or embeddings.about != about:
        return None
    return embeddings


def _stamp(path: Path) -> Stamp:
    try:
        stat = os.stat(path)
    except OSError:  # a dangling link: decoding names it
        return -1, -1
    return stat.st_size, stat.st_mtime_ns


def _next_number(parts: Path) -> int:
    stems = [part.stem.split("_")[0] for part in parts.glob("*.npz")]
    numbers = [int(stem) for stem in stems if stem.isdecimal()]
    return max(numbers, default=-1) + 1


def _remove(parts: Path) -> None:
    """Remove the parts; one that another process writes meanwhile may stay, and is read the next time."""
    shutil.rmtree(parts, ignore_errors=True)
