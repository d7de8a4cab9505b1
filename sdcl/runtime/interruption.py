"""SIGTERM and SIGINT (preemption, Ctrl-C): finish the step or batch, save the state, exit with code 75."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType, TracebackType
from typing import Any

from sdcl.runtime import distributed
from sdcl.runtime.program import Interrupted

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Interruption:
    """Within its `with` block a first signal is remembered for `check`; a second ends the program at once."""

    def __init__(self) -> None:
        self.signal_name = ""  # of the signal that came
        self._handlers: dict[int, Any] = {}  # from before the block

    def __enter__(self) -> Interruption:
        for number in SIGNALS:
            self._handlers[number] = signal.signal(number, self._remember)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if self.signal_name:
            os._exit(128 + number)
        self.signal_name = signal.Signals(number).name
        print(
            f"\n{self.signal_name}: ending the step or batch and saving; another "
            "signal ends the program at once",
            file=sys.stderr,
            flush=True,
        )

    def check(self, *, together: bool = True) -> None:
        """Raise `Interrupted` if any process was signalled.

        Args:
            together: every process makes this call at the same point, so that they can agree. If not, only a
                process without others may stop.
        """
        if together:
            signalled = distributed.any_process(bool(self.signal_name))
        else:
            signalled = bool(self.signal_name) and distributed.single_process()
        if signalled:
            raise Interrupted(self.signal_name or "a signal to another process")
