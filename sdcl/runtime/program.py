"""Run a program to its exit code: 0; 2 and one line for a `UserError`; 75 after a signal, 130 after Ctrl-C
where nothing waits for a signal.

Anything else keeps its traceback and exits with 1.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Sequence
from typing import Protocol

from sdcl.runtime.errors import UserError

FINISHED, USER_ERROR = 0, 2
STOPPED = 128 + 2  # by Ctrl-C, SIGINT
INTERRUPTED = 75  # EX_TEMPFAIL of sysexits.h: the same command continues


class Main(Protocol):
    """A program: it takes its arguments (None: those of the command line) and returns its exit code."""

    def __call__(self, argv: Sequence[str] | None = None) -> int: ...


class Interrupted(Exception):
    """A signal asked the run to end; its state was saved before this was raised.

    continuation: how the user goes on.
    """

    continuation = "the same command continues"


def run_program(main: Main, argv: Sequence[str] | None = None) -> int:
    """Run a program and return its exit code.

    Exceptions that are not a user's pass through with their traceback. A process that fails does not leave
    the process group first: the others notice by its end, when its message is out. Otherwise they would fail
    before it, and torchrun would end it for their failure, perhaps before its traceback is printed.

    Args:
        main: the program.
        argv: its arguments; None: those of the command line.
    """
    try:
        code = main(argv)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return USER_ERROR
    except Interrupted as signal:  # on every process at the same step
        print(f"ended by {signal}; {signal.continuation}", file=sys.stderr)
        code = INTERRUPTED
    except KeyboardInterrupt:  # of a program that does not wait for the end of a step
        print("stopped", file=sys.stderr)
        return STOPPED
    _leave_process_group()
    return code


def _leave_process_group() -> None:
    distributed = sys.modules.get("sdcl.runtime.distributed")
    if distributed is not None:  # else never imported: there is no group
        distributed.stop()


def program(main: Main) -> Main:
    """Decorate a `main` so that calling it is `run_program`."""

    @functools.wraps(main)
    def call(argv: Sequence[str] | None = None) -> int:
        return run_program(main, argv)

    return call
