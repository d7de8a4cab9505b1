"""Errors that a user can mend: the only ones that a program reports as one line instead of a traceback.

Raise one of these where the message can name the file or flag, the cause and the remedy. Everything else (a
wrong shape, a broken invariant, an exception of a library) stays what it is and keeps its traceback.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


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
def writing(what: str, remedy: str = "free space or choose another folder, then run again") -> Iterator[None]:
    """Report an OSError of the block as an `OutputError` that names `what` was written and the remedy."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"{what} cannot be written: {error.strerror or error}; {remedy}") from error
