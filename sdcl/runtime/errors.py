"""Errors that a user can mend: the only ones that a program reports as one line instead of a traceback.

Raise one of these where the message can name the file or flag, the cause and the remedy. Everything else (a
wrong shape, a broken invariant, an exception of a library) stays what it is and keeps its traceback.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FULL = (errno.ENOSPC, errno.EDQUOT)  # no space left; a user's quota is used up


class UserError(ValueError):
    """Bad input, or a run that cannot go on. Programs print its message and exit with code 2."""


class SettingError(UserError):
    """A flag or a settings file that no run can have, or that nothing in this run reads."""


class DataError(UserError):
    """Missing, unreadable or inconsistent images, lists or data-set folders."""


class WeightError(UserError):
    """A weight file that cannot be read or does not fit the model."""


class CheckpointError(UserError):
    """A checkpoint that is missing, damaged, or of another experiment."""


class TrainingError(UserError):
    """Training cannot go on: no clusters, collapsed features, a loss that is not finite."""


class OutputError(UserError):
    """A file or folder that cannot be written."""


@contextmanager
def writing(what: str, elsewhere: str = "choose another folder") -> Iterator[None]:
    """Report an OSError of the block as an `OutputError` that names what was
    written, the cause and the remedy.

    Args:
        elsewhere: how to write to another place; on a full disk the message says "free space or" before it.
    """
    try:
        yield
    except OSError as error:
        remedy = f"free space or {elsewhere}" if error.errno in FULL else elsewhere
        raise OutputError(f"{what} cannot be written: {_cause(error)}; {remedy}, then run again") from error


def _cause(error: OSError) -> str:
    """The system's words, but for a link to nothing, of which it says that the file exists."""
    if isinstance(error, FileExistsError) and error.filename:
        path = Path(error.filename)
        if path.is_symlink() and not path.exists():
            return f"{path} is a link to a folder that does not exist"
    return error.strerror or str(error)
