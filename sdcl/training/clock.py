"""Seconds that an epoch spends in each of its phases."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch

PHASES = ("embed", "cluster", "train", "test")


class Clock:
    """`with clock("train"):` adds the seconds of the block to its phase.

    A GPU is waited for once, at the end of the block.
    """

    def __init__(self, device: torch.device):
        self.device = device
        self.restart({})

    def restart(self, seconds: Mapping[str, float]) -> None:
        """Begin an epoch, with the seconds that an interrupted run has already spent on it."""
        self.seconds = dict.fromkeys(PHASES, 0.0) | dict(seconds)
        self._running: tuple[str, float] | None = None  # phase, and when it began

    def so_far(self) -> dict[str, float]:
        """Seconds of each phase, with those of the one that runs."""
        seconds = dict(self.seconds)
        if self._running is not None:
            phase, started = self._running
            seconds[phase] += time.perf_counter() - started
        return seconds

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        started = time.perf_counter()
        self._running = phase, started
        yield
        self._running = None
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.seconds[phase] += time.perf_counter() - started
