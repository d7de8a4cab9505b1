"""Signals at chosen points of a run in this process."""

import os
import signal

from sdcl.runtime.interruption import Interruption


def stop_at(monkeypatch, count):
    """Send SIGTERM at the `count`-th point where a run looks for signals; 0: never.

    Returns a list whose only entry counts these points.
    """
    seen = [0]
    check = Interruption.check

    def counting(self, **options):
        seen[0] += 1
        if seen[0] == count:
            os.kill(os.getpid(), signal.SIGTERM)
        check(self, **options)

    monkeypatch.setattr(Interruption, "check", counting)
    return seen
