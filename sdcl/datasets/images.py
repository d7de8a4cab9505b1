"""Image files on disk: the formats and sizes that are read, and the one listing of a folder.

The formats are a closed list, so that Pillow never opens one that may run another program (EPS).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from PIL import Image, ImageOps

from sdcl.runtime.errors import DataError
from sdcl.runtime.files import printable

# Pillow's format -> file name suffixes, lower case
SUFFIXES_OF = {
    "JPEG": (".jpg", ".jpeg"),
    "PNG": (".png",),
    "BMP": (".bmp",),
}
FORMATS = tuple(SUFFIXES_OF)  # formats that Pillow reads without another program
SUFFIXES = tuple(suffix for suffixes in SUFFIXES_OF.values() for suffix in suffixes)
ORIENTATION = 0x0112  # EXIF's number of it
MAX_PIXELS = 2**25  # of one image; the crop of a person has a thousandth of it

# (folder, names of its subfolders, names of its files), hidden ones left out; may raise to refuse the folder
Visit = Callable[[str, list[str], list[str]], None]


def as_rgb(image: Image.Image) -> Image.Image:
    """An image as RGB of 8 bits, upright: turned as its EXIF orientation says. Transparency is dropped.

    Raises:
        DataError: more than 8 bits a pixel in one channel, of which Pillow would
            cut off all that is above 255.
    """
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        raise DataError(
            f"it has more than 8 bits a pixel (mode {image.mode}); which of them count is yours to say: "
            "convert it to 8 bits, all images of a camera in the same way"
        )
    if image.getexif().get(ORIENTATION, 1) != 1:
        image = ImageOps.exif_transpose(image)
    return image.convert("RGB")


def is_image(name: str | Path) -> bool:
    """Whether a file name has the suffix of an image that is read, in upper or lower case."""
    return os.path.splitext(name)[1].lower() in SUFFIXES


def list_images(folder: Path, *, recursive: bool = False, visit: Visit | None = None) -> list[Path]:
    """Sorted paths of the image files of a folder; hidden files and folders are left out.

    Args:
        recursive: also below its subfolders. Links to folders are not followed.
        visit: called with each folder before its images are listed.

    Raises:
        DataError: a folder that cannot be listed.
    """
    images: list[Path] = []
    for parent, folders, files in os.walk(folder, onerror=_refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        files = [name for name in files if not name.startswith(".")]
        if visit is not None:
            visit(parent, folders, files)
        images += [Path(parent, name) for name in files if is_image(name)]
        if not recursive:
            break
    return sorted(images)


def _refuse(error: OSError) -> None:
    raise DataError(
        f"folder {printable(str(error.filename))} cannot be listed: {error.strerror}; check its name and "
        f"permissions"
    )
