"""SIGTERM and SIGINT (a scheduler's preemption, Ctrl-C): the step ends, the state is saved, the program leaves with a code of its own."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType, TracebackType

from sdcl.runtime import distributed
from sdcl.runtime.program import Interrupted

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Interruption:
    """While it is entered, the first signal is remembered and the second ends the program at once."""

    def __init__(self) -> None:
        self.asked = ""
        self._before: dict[int, object] = {}

    def __enter__(self) -> Interruption:
        for number in SIGNALS:
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            os._exit(128 + number)
        self.asked = signal.Signals(number).name
        print(f"\n{self.asked}: ending the step and saving; once more ends at once", file=sys.stderr, flush=True)

    def check(self, *, together: bool = True) -> None:
        """Raise `Interrupted` if any process was signalled.

        Args:
            together: every process is at this point, so they can agree. Elsewhere only a process that is alone may act.
        """
        if together:
            asked = distributed.any_process(bool(self.asked))
        else:
            asked = bool(self.asked) and distributed.alone()
        if asked:
            raise Interrupted(self.asked or "a signal to another process")
