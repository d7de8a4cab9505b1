"""Atomic writing, locks and printable paths: the one place where files of a
run or a program are put on disk.
"""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from sdcl.runtime.errors import OutputError, writing

try:
    import fcntl
except ModuleNotFoundError:  # not a POSIX system
    fcntl = None  # type: ignore[assignment]


@contextmanager
def atomic(target: Path, elsewhere: str = "choose another folder") -> Iterator[Path]:
    """Yield a temporary path beside `target`; after the block it is flushed to disk and renamed, so
    `target` is whole or unchanged.

    The folder is made if it is missing. If the block raises, the temporary file is removed.

    Args:
        elsewhere: remedy, as of `writing`.

    Raises:
        OutputError: the folder or the file cannot be written.
    """
    # machines that share the folder may have processes of the same number
    part = target.with_name(f"{target.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    with writing(printable(target), elsewhere):
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            yield part
            with open(part, "rb+") as file:
                os.fsync(file.fileno())
            os.replace(part, target)
        finally:
            part.unlink(missing_ok=True)


@contextmanager
def exclusive(lock: Path, waiting: str, elsewhere: str = "choose another folder") -> Iterator[None]:
    """Hold the lock file while the block runs; it is made, with its folder, and removed afterwards.

    The system drops the lock of a process that ends, however it ends. Where locks do not exist the block runs
    at once.

    Args:
        waiting: printed if another process holds the lock. elsewhere: remedy, as of `writing`.

    Raises:
        OutputError: the folder cannot be written.
    """
    file = None
    with writing(printable(lock), elsewhere):
        lock.parent.mkdir(parents=True, exist_ok=True)
        while fcntl is not None:
            file = lock.open("a")
            if not _locked(file, waiting):
                break
            try:
                if os.path.samestat(os.fstat(file.fileno()), lock.stat()):
                    break
            except FileNotFoundError:
                pass
            file.close()  # the process that held it has removed it since: make a new one
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)
        if file is not None:
            file.close()


def _locked(file: IO[str], waiting: str) -> bool:
    """Lock an open file, waiting for other processes. Returns False on a file system without locks."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print(waiting, file=sys.stderr, flush=True)
        fcntl.flock(file, fcntl.LOCK_EX)
    except OSError:
        return False
    return True


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
