"""Embeddings of a folder of images: computed, saved, loaded, and compared only with others of the same model.

    folder -> images, sorted by path -> test preprocessing of the model -> mean of image and horizontal flip
    -> unit rows

Files hold the rows, the paths of the images below the folder, the settings that made them and the fingerprint
of the weights. As .npz: `embeddings` float32 (N, D), `paths` text (N,), `about` JSON text. As .safetensors:
the tensor `embeddings`; `paths` and `about` are JSON text in its metadata.

N images, D dimensions, H height, W width.
"""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save as safetensors_bytes
from tqdm import tqdm

from sdcl.config.supervision import supervision
from sdcl.data.image_cache import decode
from sdcl.data.normalization import IMAGENET, KEY
from sdcl.datasets import SUFFIXES, list_images
from sdcl.inference.trained_model import TrainedModel
from sdcl.runtime.devices import uses_bf16
from sdcl.runtime.errors import DataError, SettingError, UserError
from sdcl.runtime.files import printable, write_bytes

EMBEDDING_SUFFIXES = (".npz", ".safetensors")
CHUNK = 1024  # decoded images held in memory
COMPARABLE = ("weights", "height", "width", "resize", KEY)  # facts that two sets must share to be compared
RECORDED = {"root", "modality", *COMPARABLE} - {KEY}


@dataclass(frozen=True, eq=False)
class Embeddings:
    """Features of images, with their paths and what made them.

    Args:
        rows: float32 (N, D) of unit length.
        paths: N paths below `about["root"]`.
        about: root, modality, weights (fingerprint), height, width, resize, normalization, and for information arch,
            method, precision, ...
    """

    rows: np.ndarray
    paths: list[str]
    about: dict[str, Any]

    @property
    def files(self) -> list[str]:
        """Paths of the images at the time they were embedded."""
        return [os.path.join(self.about["root"], path) for path in self.paths]


def image_paths(folder: Path) -> list[str]:
    """Sorted paths, below the folder, of its image files at any depth; hidden ones are left out.

    Raises:
        DataError: no folder, one that cannot be listed, or one without images.
    """
    if not folder.is_dir():
        raise DataError(f"{printable(folder)} is no folder of images")
    paths = sorted(path.relative_to(folder).as_posix() for path in list_images(folder, recursive=True))
    if not paths:
        raise DataError(f"there is no image below {printable(folder)} ({', '.join(SUFFIXES)})")
    return paths


def embed_folder(
    trained: TrainedModel,
    folder: Path | str,
    modality: str,
    *,
    batch_size: int = 128,
    precision: str = "fp32",
    workers: int = 4,
    skip_unreadable: bool = False,
) -> Embeddings:
    """Embed all images below a folder, or a single image file, on the device that the model is on.

    Args:
        modality: "visible" or "infrared".
        batch_size: images embedded at once.
        precision: "fp32", "bf16", or "auto" as in training.
        workers: threads that decode images.
        skip_unreadable: leave out images that cannot be decoded, with a warning that names them.

    Raises:
        DataError: no images, or unreadable ones (each is named) without `skip_unreadable`.
        WeightError: features that are not finite.
    """
    if batch_size < 1 or workers < 1:
        raise SettingError(f"--batch-size and --workers must be above 0, got {batch_size} and {workers}")
    folder = Path(folder)
    root, paths = (folder.parent, [folder.name]) if folder.is_file() else (folder, image_paths(folder))
    d = trained.settings.data
    parts: list[np.ndarray] = []
    embedded: list[str] = []
    unreadable: list[str] = []
    for first in tqdm(
        range(0, len(paths), CHUNK), f"embed {modality}", unit=f"x{CHUNK}", disable=None, leave=False
    ):
        chunk = paths[first : first + CHUNK]
        pixels, errors = _decode_all(
            [str(root / p) for p in chunk], d.height, d.width, d.resize_test, workers
        )
        unreadable += errors.values()
        if errors and not skip_unreadable:
            continue  # only to name them all
        embedded += [path for i, path in enumerate(chunk) if i not in errors]
        if len(pixels):
            parts.append(trained.embed(pixels, modality, batch_size=batch_size, precision=precision))
    _report_unreadable(unreadable, skip_unreadable)
    if not embedded:
        raise DataError(f"none of the {len(paths)} images below {printable(folder)} can be decoded")
    about = {
        "root": str(root.resolve()),
        "modality": modality,
        "weights": trained.fingerprint,
        "arch": trained.settings.model.arch,
        "method": trained.settings.run.method,
        "trained_on": d.dataset,
        "supervision": supervision(trained.settings.run.labels),
        "height": d.height,
        "width": d.width,
        "resize": d.resize_test,
        KEY: trained.normalization.plain(),
        "precision": "bf16" if uses_bf16(precision, trained.device) else "fp32",
        "flip": True,
        "branches": list(trained.model.branches),
    }
    return Embeddings(np.concatenate(parts), embedded, about)


def _decode_all(
    paths: Sequence[str], height: int, width: int, resize: str, workers: int
) -> tuple[np.ndarray, dict[int, str]]:
    """uint8 (n, H, W, 3) of the readable images, and index -> error of the others."""
    errors: dict[int, str] = {}

    def decode_one(index: int) -> np.ndarray | None:
        try:
            return decode(paths[index], height, width, resize)
        except UserError as error:
            errors[index] = str(error)
            return None

    with ThreadPoolExecutor(workers) as pool:
        images = [image for image in pool.map(decode_one, range(len(paths))) if image is not None]
    return (np.stack(images) if images else np.empty((0, height, width, 3), np.uint8)), errors


def _report_unreadable(errors: Sequence[str], skip: bool) -> None:
    listed = "\n  ".join(errors)
    if errors and not skip:
        raise DataError(
            f"{len(errors)} image(s) cannot be used; replace them, or leave them out with "
            f"--skip-unreadable:\n  {listed}"
        )
    if errors:
        print(
            f"warning: {len(errors)} image(s) cannot be used and are left out:\n  {listed}", file=sys.stderr
        )


def save_embeddings(path: Path, embeddings: Embeddings) -> None:
    """Write embeddings atomically; the suffix, .npz or .safetensors, decides the format. Raises
    OutputError.
    """
    if path.suffix == ".npz":
        buffer = io.BytesIO()
        paths, about = np.array(embeddings.paths), np.array(json.dumps(embeddings.about))
        np.savez(buffer, embeddings=embeddings.rows, paths=paths, about=about)
        content = buffer.getvalue()
    else:
        metadata = {"paths": json.dumps(embeddings.paths), "about": json.dumps(embeddings.about)}
        content = safetensors_bytes({"embeddings": embeddings.rows}, metadata)
    write_bytes(path, content)


def load_embeddings(path: Path) -> Embeddings:
    """Read a file of `save_embeddings`.

    Raises:
        DataError: another file, or rows that do not fit their paths or are not of unit length.
    """
    remedy = "make one with `sdcl embed`"
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as file:
                rows, paths, about = (
                    file["embeddings"],
                    file["paths"].tolist(),
                    json.loads(str(file["about"])),
                )
        else:
            with safe_open(path, "np") as file:
                metadata = file.metadata() or {}
                rows, paths, about = (
                    file.get_tensor("embeddings"),
                    json.loads(metadata["paths"]),
                    json.loads(metadata["about"]),
                )
        complete = about.keys() >= RECORDED and isinstance(paths, list)
    except Exception as error:  # numpy, zipfile and safetensors each raise their own kinds
        raise DataError(f"{printable(path)} is no file of embeddings ({error}); {remedy}") from None
    if not complete or rows.ndim != 2 or rows.dtype != np.float32 or len(rows) != len(paths) or not len(rows):
        raise DataError(f"{printable(path)} is no file of embeddings of this program; {remedy}")
    if not (np.abs(np.linalg.norm(rows, axis=1) - 1) < 1e-2).all():
        raise DataError(f"{printable(path)} holds rows that are not of unit length; {remedy}")
    about.setdefault(KEY, IMAGENET.plain())  # files of version 0.2 and before
    return Embeddings(rows, [str(p) for p in paths], about)


def refuse_mixture(a: Embeddings, b: Embeddings) -> None:
    """Check that two sets were made by the same weights and preprocessing. Raises DataError otherwise."""
    differences = [
        f"{name} {a.about[name]} and {b.about[name]}" for name in COMPARABLE if a.about[name] != b.about[name]
    ]
    if differences:
        raise DataError(
            f"embeddings of {printable(a.about['root'])} and of {printable(b.about['root'])} cannot be "
            f"compared: {'; '.join(differences)}. Embed both with the same --weights"
        )
