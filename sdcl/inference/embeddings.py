"""Embeddings of a folder of images: computed, saved, loaded, and compared only with others of the same model.

    folder -> images, sorted by path -> test preprocessing of the model -> mean of image and horizontal flip
    -> unit rows

Files hold the rows, the paths of the images below the folder, the settings that made them and the fingerprint
of the weights. As .npz: `embeddings` float32 (N, D), `paths` text (N,), `about` JSON text, `stamps` int64
(N, 2). As .safetensors: the tensors `embeddings` and `stamps`; `paths` and `about` are JSON text in its
metadata. A stamp is the size and the modification time of an image file; files of earlier versions have none.

N images, D dimensions, H height, W width.
"""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

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
from sdcl.runtime.errors import DataError, OutputError, SettingError, UserError
from sdcl.runtime.files import printable, write_bytes

EMBEDDING_SUFFIXES = (".npz", ".safetensors")
UNPACKED = 10  # times its size that a file may unpack to; this program does not compress
CHUNK = 1024  # decoded images held in memory
COMPARABLE = ("weights", "height", "width", "resize", KEY)  # facts that two sets must share to be compared
RECORDED = {"root", "modality", *COMPARABLE} - {KEY}


@dataclass(frozen=True, eq=False)
class Embeddings:
    """Features of images, with their paths and what made them.

    Args:
        rows: float32 (N, D) of unit length.
        paths: N paths below `about["root"]`.
        about: root, modality, weights (fingerprint), height, width, resize, normalization, and for
            information arch, method, precision, ...
        stamps: int64 (N, 2), size and modification time (ns) of each file when it was read; None: unknown.
    """

    rows: np.ndarray
    paths: list[str]
    about: dict[str, Any]
    stamps: np.ndarray | None = None

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
        raise DataError(f"{printable(folder)} is no folder of images; name one")
    paths = sorted(path.relative_to(folder).as_posix() for path in list_images(folder, recursive=True))
    if not paths:
        raise DataError(
            f"there is no image below {printable(folder)} ({', '.join(SUFFIXES)}; "
            "links to folders are not followed)"
        )
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
    root, paths = images_below(Path(folder))
    parts: list[np.ndarray] = []
    embedded: list[str] = []
    unreadable: list[str] = []
    chunks = embedded_chunks(
        trained, root, paths, modality, batch_size, precision, workers, skip_unreadable=skip_unreadable
    )
    bar = tqdm(
        chunks, f"embed {modality}", -(-len(paths) // CHUNK), unit=f"x{CHUNK}", disable=None, leave=False
    )
    for chunk in bar:
        unreadable += chunk.errors
        embedded += chunk.paths
        parts.append(chunk.rows)
    report_unreadable(unreadable, skip_unreadable)
    if not embedded:
        raise DataError(f"none of the {len(paths)} images below {printable(folder)} can be decoded")
    return Embeddings(np.concatenate(parts), embedded, about_embedding(trained, root, modality, precision))


class Chunk(NamedTuple):
    """Some images of a folder.

    Args:
        paths: of the images that were embedded. rows: float32 (n, D). errors: one line for each other image.
    """

    paths: list[str]
    rows: np.ndarray
    errors: list[str]


def images_below(folder: Path) -> tuple[Path, list[str]]:
    """(root, paths below it) of the images of a folder, or of a single image file. Raises DataError."""
    return (folder.parent, [folder.name]) if folder.is_file() else (folder, image_paths(folder))


def embedded_chunks(
    trained: TrainedModel,
    root: Path,
    paths: Sequence[str],
    modality: str,
    batch_size: int,
    precision: str,
    workers: int,
    *,
    skip_unreadable: bool,
    size: int = CHUNK,
    guard: AbstractContextManager[Any] | None = None,
) -> Iterator[Chunk]:
    """Embed images, `size` of them at a time, in their order. Arguments and errors as those of
    `embed_folder`.

    Once an image cannot be decoded, and may not be skipped, the rest is only decoded, to name them all.

    Args:
        guard: held while the model computes a batch, for programs that use it in several threads.
    """
    if batch_size < 1 or workers < 1:
        raise SettingError(f"--batch-size and --workers must be above 0, got {batch_size} and {workers}")
    d, refused = trained.settings.data, False
    dim = trained.model.feature_dim * len(trained.model.branches)
    for first in range(0, len(paths), size):
        chunk = paths[first : first + size]
        files = [str(root / path) for path in chunk]
        pixels, errors = _decode_all(files, d.height, d.width, d.resize_test, workers)
        refused |= bool(errors) and not skip_unreadable
        kept = [] if refused else [path for i, path in enumerate(chunk) if i not in errors]
        rows = np.empty((0, dim), np.float32)
        if kept:
            batches = range(0, len(pixels), batch_size)
            parts = [_embed(trained, pixels[i : i + batch_size], modality, precision, guard) for i in batches]
            rows = np.concatenate(parts)
        yield Chunk(kept, rows, list(errors.values()))


def _embed(
    trained: TrainedModel,
    pixels: np.ndarray,
    modality: str,
    precision: str,
    guard: AbstractContextManager[Any] | None,
) -> np.ndarray:
    """float32 (n, D) of one batch of decoded images, uint8 (n, H, W, 3)."""
    with guard or nullcontext():
        return trained.embed(pixels, modality, batch_size=len(pixels), precision=precision)


def about_embedding(trained: TrainedModel, root: Path, modality: str, precision: str) -> dict[str, Any]:
    """What made the embeddings of the images below `root`: the `about` of their file."""
    d = trained.settings.data
    return {
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
    pixels = np.stack(images) if images else np.empty((0, height, width, 3), np.uint8)
    return pixels, dict(sorted(errors.items()))  # in the images' order, whichever thread was first


def report_unreadable(errors: Sequence[str], skip: bool) -> None:
    """Refuse images that cannot be decoded, or warn of them. Raises DataError."""
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


def save_embeddings(path: Path | str, embeddings: Embeddings) -> None:
    """Write embeddings atomically; the suffix, .npz or .safetensors, decides the format. Raises
    OutputError.
    """
    path = Path(path)
    if path.suffix not in EMBEDDING_SUFFIXES:
        raise OutputError(f"{printable(path)} must end in {' or '.join(EMBEDDING_SUFFIXES)}")
    if path.suffix == ".npz":
        buffer = io.BytesIO()
        paths, about = np.array(embeddings.paths), np.array(json.dumps(embeddings.about))
        np.savez(buffer, embeddings=embeddings.rows, paths=paths, about=about, **_stamps(embeddings))
        content = buffer.getvalue()
    else:
        metadata = {"paths": json.dumps(embeddings.paths), "about": json.dumps(embeddings.about)}
        content = safetensors_bytes({"embeddings": embeddings.rows, **_stamps(embeddings)}, metadata)
    write_bytes(path, content)


def _stamps(embeddings: Embeddings) -> dict[str, Any]:
    return {} if embeddings.stamps is None else {"stamps": embeddings.stamps}


def load_embeddings(path: Path | str) -> Embeddings:
    """Read a file of `save_embeddings`.

    Raises:
        DataError: another file, or rows that do not fit their paths or are not of unit length.
    """
    path, remedy = Path(path), "make one with `sdcl embed`"
    if not path.is_file():
        raise DataError(f"{printable(path)} is no file; {remedy}")
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as file:
                unpacked = sum(member.file_size for member in file.zip.infolist())
                if unpacked > UNPACKED * path.stat().st_size + 2**26:
                    raise ValueError(f"it unpacks to {unpacked:,} bytes")
                rows, paths, about = (
                    file["embeddings"],
                    file["paths"].tolist(),
                    json.loads(str(file["about"])),
                )
                stamps = file.get("stamps")
        else:
            with safe_open(path, "np") as file:
                metadata = file.metadata() or {}
                rows, paths, about = (
                    file.get_tensor("embeddings"),
                    json.loads(metadata["paths"]),
                    json.loads(metadata["about"]),
                )
                stamps = file.get_tensor("stamps") if "stamps" in file.keys() else None  # noqa: SIM118
        complete = about.keys() >= RECORDED and isinstance(paths, list)
    except Exception as error:  # numpy, zipfile and safetensors each raise their own kinds
        raise DataError(f"{printable(path)} is no file of embeddings ({error}); {remedy}") from None
    if not complete or rows.ndim != 2 or rows.dtype != np.float32 or len(rows) != len(paths) or not len(rows):
        raise DataError(f"{printable(path)} is no file of embeddings of this program; {remedy}")
    if stamps is not None and (stamps.shape != (len(paths), 2) or stamps.dtype != np.int64):
        raise DataError(f"{printable(path)} holds file stamps that do not fit its paths; {remedy}")
    if not (np.abs(np.linalg.norm(rows, axis=1) - 1) < 1e-2).all():
        raise DataError(f"{printable(path)} holds rows that are not of unit length; {remedy}")
    about.setdefault(KEY, IMAGENET.plain())  # files of version 0.2 and before
    return Embeddings(rows, [str(p) for p in paths], about, stamps)


def refuse_mixture(a: Embeddings, b: Embeddings) -> None:
    """Check that two sets were made by the same weights and preprocessing. Raises DataError otherwise."""
    facts = [(name, a.about.get(name), b.about.get(name)) for name in COMPARABLE]
    differences = [f"{name} {one} and {other}" for name, one, other in facts if one != other]
    if differences:
        raise DataError(
            f"embeddings of {printable(a.about.get('root', '?'))} and of "
            f"{printable(b.about.get('root', '?'))} cannot be compared: {'; '.join(differences)}. "
            "Embed both with the same --weights"
        )
