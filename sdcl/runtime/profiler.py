"""`--profile N`: trace of N optimiser steps on CPU and GPU, for chrome://tracing or Perfetto."""

from __future__ import annotations

from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

WARM_UP = 2  # steps before the trace: the first ones fill caches and choose kernels


class StepProfiler:
    """Writes FOLDER/trace.json.

    Args:
        steps: how many to trace; 0: none, and every method does nothing.
    """

    def __init__(self, folder: Path, steps: int):
        self.path, self.steps, self.taken = folder / "trace.json", steps, 0
        self.profiler: profile | None = None

    def step(self) -> None:
        """Call after every optimiser step."""
        if not self.steps:
            return
        self.taken += 1
        if self.taken == WARM_UP:
            gpu = [ProfilerActivity.CUDA] if torch.cuda.is_available() else []
            self.profiler = profile(activities=[ProfilerActivity.CPU, *gpu])
            self.profiler.start()
        elif self.taken == WARM_UP + self.steps:
            self.close()

    def close(self) -> None:
        """Write the trace, if one is being recorded; nothing is traced afterwards."""
        if self.profiler is not None:
            self.profiler.stop()
            self.profiler.export_chrome_trace(str(self.path))
        self.profiler, self.steps = None, 0
