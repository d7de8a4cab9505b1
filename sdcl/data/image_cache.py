"""Cache of decoded images: a memory-mapped uint8 array per list of files, size and resize filter.

Legend: N images, B images of a batch, H height, W width.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from sdcl.datasets.images import FORMATS, MAX_PIXELS
from sdcl.runtime.errors import DataError
from sdcl.runtime.files import atomic, printable

FILTERS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
GPU_SHARE = 0.4  # of the free memory of a GPU that images may take


def fingerprint(paths: Sequence[str]) -> str:
    """Short hash of the names, sizes and modification times of files: it changes when the data set does.

    Raises:
        DataError: a file cannot be read.
    """
    digest = hashlib.sha256()
    for path in paths:
        try:
            stat = os.stat(path)
        except OSError as error:
            cause = f"image file {path} cannot be read ({error.strerror})"
            raise DataError(f"{cause}; prepare the data set again") from None
        digest.update(f"{path}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()[:16]


def content_fingerprint(paths: Sequence[str]) -> str:
    """Short hash of file names and sizes, in order: the same in whichever folder the data set lies."""
    lines = [f"{Path(p).name} {os.path.getsize(p)}" for p in paths]
    return hashlib.sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest()[:16]


class ImageSource(Protocol):
    """Decoded images of one size, taken by their indexes: a cache, or a view of one."""

    device: torch.device

    def __len__(self) -> int: ...

    def take(self, rows: np.ndarray) -> Tensor:
        """Images at the indexes int (B,), as uint8 (B, H, W, 3) on the device."""
        ...


class ImageCache:
    """N decoded images of one size.

    Args:
        images: uint8 (N, H, W, 3), a memory map or an array.
        device: of the batches; the images are copied to a GPU once if they fit into a part of its memory.
    """

    def __init__(self, images: np.ndarray, device: torch.device):
        self.images = images
        self.device = device
        self._resident: Tensor | None = None
        if device.type == "cuda" and images.nbytes < GPU_SHARE * torch.cuda.mem_get_info(device)[0]:
            self._resident = torch.from_numpy(np.ascontiguousarray(images)).to(device)

    def __len__(self) -> int:
        return len(self.images)

    def take(self, rows: np.ndarray) -> Tensor:
        """Images at the indexes int (B,), as uint8 (B, H, W, 3) on the device."""
        if self._resident is not None:
            return self._resident[torch.as_tensor(rows, device=self.device)]
        batch = torch.from_numpy(self.images[rows])
        if self.device.type != "cuda":
            return batch
        return batch.pin_memory().to(self.device, non_blocking=True)


def cache_file(paths: Sequence[str], height: int, width: int, resize: str, cache_dir: Path) -> Path:
    """Path of the cached array; it names the files as they are now, the size and the filter."""
    key = hashlib.sha256(json.dumps([fingerprint(paths), height, width, resize]).encode()).hexdigest()[:20]
    return cache_dir / f"{key}_{height}x{width}_{resize}.npy"


def build_cache(
    paths: Sequence[str], height: int, width: int, resize: str, cache_dir: Path, workers: int, title: str
) -> Path:
    """Decode all images into one file, unless it exists. The file is written atomically.

    Args:
        resize: a name of `FILTERS`. workers: threads. title: of the progress bar.

    Returns:
        The path of a NumPy file, uint8 (N, H, W, 3).

    Raises:
        DataError: unreadable or truncated images, each named.
        OutputError: the cache folder cannot be written.
    """
    target = cache_file(paths, height, width, resize, cache_dir)
    if target.is_file():
        return target
    with atomic(target, "free space or choose another --cache-dir, then run again") as part:
        array = np.lib.format.open_memmap(part, "w+", np.uint8, (len(paths), height, width, 3))
        broken: list[str] = []

        def decode_into(row: int) -> None:
            try:
                array[row] = decode(paths[row], height, width, resize)
            except DataError as error:
                broken.append(str(error))

        with ThreadPoolExecutor(workers) as pool:
            done = pool.map(decode_into, range(len(paths)))
            list(tqdm(done, f"decode {title}", len(paths), unit="image", disable=None, leave=False))
        if broken:
            shown = "\n  ".join(sorted(broken)[:20])
            advice = "replace them from the original archive"
            raise DataError(f"{len(broken)} image(s) cannot be used; {advice}:\n  {shown}")
        array.flush()
    return target


def open_cache(
    paths: Sequence[str],
    height: int,
    width: int,
    resize: str,
    cache_dir: Path,
    device: torch.device,
    *,
    workers: int,
    title: str,
) -> ImageCache:
    """The images of these files, decoded now unless they are cached.

    Arguments and errors as those of `build_cache`.
    """
    path = build_cache(paths, height, width, resize, cache_dir, workers, title)
    return ImageCache(np.load(path, mmap_mode="r"), device)


def decode(path: str, height: int, width: int, resize: str) -> np.ndarray:
    """One image as uint8 (H, W, 3).

    Raises:
        DataError: the file is no image, is truncated, or is larger than `MAX_PIXELS`.
    """
    image = read_image(path)
    return np.asarray(image.resize((width, height), FILTERS[resize]))


def read_image(source: str | BinaryIO, name: str = "") -> Image.Image:
    """One image as RGB, in its own size.

    Args:
        source: path, or an open file. name: for messages, of an open file.

    Raises:
        DataError: it is no image, is truncated, or is larger than `MAX_PIXELS`.
    """
    try:
        if isinstance(source, str) and not os.path.isfile(source):  # opening a pipe would block
            raise DataError("not a file")
        with Image.open(source, formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                size = f"{image.width} x {image.height}"
                raise DataError(f"{size} pixels are more than the {MAX_PIXELS} that an image may have")
            return image.convert("RGB")
    except Exception as error:  # Pillow raises many kinds for damaged files
        shown = printable(source if isinstance(source, str) else name)
        raise DataError(f"{shown}: {error or type(error).__name__}") from None
