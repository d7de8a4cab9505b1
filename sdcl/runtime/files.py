"""Atomic writing and printable paths: the one place where files of a run or a program are put on disk."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sdcl.runtime.errors import OutputError, writing


@contextmanager
def atomic(
    target: Path, remedy: str = "free space or choose another folder, then run again"
) -> Iterator[Path]:
    """Yield a temporary path beside `target`; after the block it is flushed to disk and renamed, so
    `target` is whole or unchanged.

    The folder is made if it is missing. If the block raises, the temporary file is removed.

    Raises:
        OutputError: the folder or the file cannot be written.
    """
    part = target.with_name(f"{target.name}.{os.getpid()}.tmp")
    with writing(printable(target), remedy):
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            yield part
            with open(part, "rb+") as file:
                os.fsync(file.fileno())
            os.replace(part, target)
        finally:
            part.unlink(missing_ok=True)


def write_text(target: Path, text: str) -> None:
    """Write a UTF-8 text file atomically. Raises OutputError as `atomic`."""
    write_bytes(target, text.encode("utf-8"))


def write_bytes(target: Path, content: bytes) -> None:
    """Write a file atomically. Raises OutputError as `atomic`."""
    with atomic(target) as part:
        part.write_bytes(content)


def output_path(path: Path, suffixes: Sequence[str]) -> Path:
    """Check a path that a program will write to before any work is done, and make its folder.

    Raises:
        OutputError: another suffix, a folder, or a folder around it that cannot be made.
    """
    if path.suffix not in suffixes:
        raise OutputError(f"{printable(path)} must end with {' or '.join(suffixes)}")
    if path.is_dir():
        raise OutputError(f"{printable(path)} is a folder; name a file")
    with writing(printable(path.parent)):
        path.parent.mkdir(parents=True, exist_ok=True)
    return path


def printable(path: str | Path) -> str:
    """The path on one printable line, whatever characters it holds."""
    return str(path) if str(path).isprintable() else ascii(str(path))
