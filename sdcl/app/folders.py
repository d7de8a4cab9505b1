"""Which paths the page may read: those below the folders that the program was given, links resolved."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from sdcl.datasets.images import is_image
from sdcl.inference.embeddings import EMBEDDING_SUFFIXES
from sdcl.runtime.errors import DataError
from sdcl.runtime.files import printable

MOST_SUGGESTED, DEPTH = 200, 3  # folders offered to choose from, and how deep they lie


class AllowedFolders:
    """Folders and files that may be read.

    Args:
        paths: folders, which allow everything below them, and single files.
    """

    def __init__(self, paths: Iterable[Path]):
        self.roots = list(dict.fromkeys(Path(os.path.realpath(path)) for path in paths))

    def holds(self, path: str | Path) -> bool:
        """Whether a path, its links resolved, is one of the roots or lies below one."""
        try:
            real = Path(os.path.realpath(path))
        except (OSError, ValueError):  # a null byte, or a circle of links
            return False
        return any(real == root or root in real.parents for root in self.roots)

    def require(self, path: str | Path) -> Path:
        """The path, resolved. Raises DataError: it lies outside, whether or not it is there."""
        if not self.holds(path):
            raise DataError(
                f"{printable(path)} lies outside the folders that this program was given; "
                "start it with --allow DIR to open that folder, too"
            )
        return Path(os.path.realpath(path))

    def require_images(self, root: Path, paths: Sequence[str]) -> None:
        """Check images below an allowed folder. Raises DataError for a link, to an image or to a folder on
        the way to it, that leads outside.
        """
        for folder in {os.path.dirname(path) for path in paths}:
            self.require(root / folder)
        for path in paths:
            if os.path.islink(root / path):
                self.require(root / path)

    def suggestions(self) -> list[str]:
        """Folders with images and files of embeddings below the roots, for a list to choose from."""
        found: list[str] = []
        for root in self.roots:
            for parent, folders, files in os.walk(root):
                depth = len(Path(parent).relative_to(root).parts)
                folders[:] = sorted(f for f in folders if not f.startswith(".")) if depth < DEPTH else []
                if any(is_image(name) for name in files) or folders:
                    found.append(parent)
                found += [os.path.join(parent, f) for f in sorted(files) if f.endswith(EMBEDDING_SUFFIXES)]
                if len(found) >= MOST_SUGGESTED:
                    break
        return [path for path in found if path.isprintable()][:MOST_SUGGESTED]
