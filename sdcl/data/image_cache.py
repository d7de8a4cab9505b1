"""Cache of decoded images: a memory-mapped uint8 array per list of files, size and resize filter.

Legend: N images, B images of a batch, H height, W width.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from tqdm import tqdm

from sdcl.datasets.images import FORMATS, MAX_PIXELS, as_rgb
from sdcl.runtime.devices import upload
from sdcl.runtime.errors import DataError
from sdcl.runtime.files import atomic, exclusive, printable

FILTERS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
DECODING = 2  # counted up when a file gives other pixels than before, so that no older cache is taken
GPU_SHARE = 0.4  # of the free memory of a GPU that images may take
COPIED = 1024  # images copied to a GPU at once
ELSEWHERE = "choose another --cache-dir"


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
            self._resident = torch.empty(images.shape, dtype=torch.uint8, device=device)
            for start in range(0, len(images), COPIED):
                rows = slice(start, start + COPIED)
                # a tensor made of a read-only map, without a copy, would come with a warning
                self._resident[rows] = upload(np.array(images[rows]), device)

    def __len__(self) -> int:
        return len(self.images)

    def take(self, rows: np.ndarray) -> Tensor:
        """Images at the indexes int (B,), as uint8 (B, H, W, 3) on the device."""
        if self._resident is not None:
            return self._resident[upload(rows, self.device)]
        return upload(self.images[rows], self.device)


def cache_file(paths: Sequence[str], height: int, width: int, resize: str, cache_dir: Path) -> Path:
    """Path of the cached array; it names the files as they are now, the size and the filter."""
    return _cache_file(fingerprint(paths), height, width, resize, cache_dir)


def _cache_file(files: str, height: int, width: int, resize: str, cache_dir: Path) -> Path:
    key = hashlib.sha256(json.dumps([files, height, width, resize, DECODING]).encode()).hexdigest()[:20]
    return cache_dir / f"{key}_{height}x{width}_{resize}.npy"


def build_caches(
    paths: Sequence[str],
    height: int,
    width: int,
    resizes: Sequence[str],
    cache_dir: Path,
    workers: int,
    title: str,
) -> dict[str, Path]:
    """Decode all images once, into one file per filter that does not exist yet. Files are written atomically.

    Of several processes that need the same images, on one machine or on several, one decodes while the others
    wait. If no image needs resizing, the files of all filters are one file under several names.

    Args:
        resizes: names of `FILTERS`. workers: threads. title: of the progress bar.

    Returns:
        Filter -> the path of a NumPy file, uint8 (N, H, W, 3).

    Raises:
        DataError: unreadable or truncated images, each named.
        OutputError: the cache folder cannot be written.
    """
    files = fingerprint(paths)
    targets = {resize: _cache_file(files, height, width, resize, cache_dir) for resize in resizes}
    if not all(target.is_file() for target in targets.values()):
        waiting = f"waiting for another process that decodes the same images ({title})"
        with exclusive(cache_dir / f"{files}_{height}x{width}.lock", waiting, ELSEWHERE):
            missing = {resize: target for resize, target in targets.items() if not target.is_file()}
            if missing:
                _decode_into(missing, paths, height, width, workers, title)
    return targets


def _decode_into(
    targets: dict[str, Path], paths: Sequence[str], height: int, width: int, workers: int, title: str
) -> None:
    """Write the file of each filter. Errors as those of `build_caches`."""
    broken: list[str] = []
    unchanged = np.zeros(len(paths), bool)  # which images have the wanted size already

    with ExitStack() as stack:
        parts = {resize: stack.enter_context(atomic(target, ELSEWHERE)) for resize, target in targets.items()}
        shape = (len(paths), height, width, 3)
        arrays = {r: np.lib.format.open_memmap(part, "w+", np.uint8, shape) for r, part in parts.items()}

        def decode_row(row: int) -> None:
            try:
                image = read_image(paths[row])
            except DataError as error:
                broken.append(str(error))
                return
            unchanged[row] = image.size == (width, height)
            for resize, array in arrays.items():
                array[row] = _resized(image, height, width, resize)

        with ThreadPoolExecutor(workers) as pool:
            done = pool.map(decode_row, range(len(paths)))
            list(tqdm(done, f"decode {title}", len(paths), unit="image", disable=None, leave=False))
        if broken:
            shown = "\n  ".join(sorted(broken)[:20])
            advice = "replace them from the original archive"
            raise DataError(f"{len(broken)} image(s) cannot be used; {advice}:\n  {shown}")
        for array in arrays.values():
            array.flush()
        if unchanged.all():
            first, *others = parts.values()
            for other in others:
                _make_one_file(first, other)


def _make_one_file(first: Path, other: Path) -> None:
    """Let both names mean one file, if the file system can; their contents are equal."""
    link = other.with_name(f"{other.name}.link")
    try:
        os.link(first, link)
    except OSError:
        return
    os.replace(link, other)


def build_cache(
    paths: Sequence[str], height: int, width: int, resize: str, cache_dir: Path, workers: int, title: str
) -> Path:
    """The file of one filter; see `build_caches`."""
    return build_caches(paths, height, width, [resize], cache_dir, workers, title)[resize]


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
    return open_file(build_cache(paths, height, width, resize, cache_dir, workers, title), device)


def open_file(path: Path, device: torch.device) -> ImageCache:
    """The images of a file of `build_caches`. Processes that map the same file share its pages."""
    # read-only: Linux counts a map that may be written ("c") as memory and
    # refuses one larger than the machine's
    return ImageCache(np.load(path, mmap_mode="r"), device)


def decode(path: str, height: int, width: int, resize: str) -> np.ndarray:
    """One image as uint8 (H, W, 3).

    Raises:
        DataError: the file is no image, is truncated, or is larger than `MAX_PIXELS`.
    """
    return _resized(read_image(path), height, width, resize)


def _resized(image: Image.Image, height: int, width: int, resize: str) -> np.ndarray:
    return np.asarray(image.resize((width, height), FILTERS[resize]))


def read_image(source: str | BinaryIO, name: str = "") -> Image.Image:
    """One image as RGB, upright, in its own size.

    Args:
        source: path, or an open file. name: for messages, of an open file.

    Raises:
        DataError: it is no image, is truncated, is larger than `MAX_PIXELS`, or has more than 8 bits a pixel.
    """
    try:
        if isinstance(source, str) and not os.path.isfile(source):  # opening a pipe would block
            raise DataError("not a file")
        with Image.open(source, formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                size = f"{image.width} x {image.height}"
                raise DataError(f"{size} pixels are more than the {MAX_PIXELS} that an image may have")
            return as_rgb(image)
    except Exception as error:  # Pillow raises many kinds for damaged files
        shown = printable(source if isinstance(source, str) else name)
        no_image = isinstance(error, UnidentifiedImageError)  # whose own words name an object in memory
        cause = "no image of a format that is read" if no_image else error or type(error).__name__
        raise DataError(f"{shown}: {cause}") from None
