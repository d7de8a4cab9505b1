"""`--profile N`: what the host and the device did in N steps, for a trace viewer (chrome://tracing, Perfetto)."""

from __future__ import annotations

from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

WARM_UP = 2  # steps before the trace: the first ones build caches and choose kernels


class StepTrace:
    """Call `step` after every optimiser step and `close` after the last; FOLDER/trace.json holds `steps` of them. Nothing happens with 0."""

    def __init__(self, folder: Path, steps: int):
        self.target, self.steps, self.done = folder / "trace.json", steps, 0
        self.profiler: profile | None = None

    def step(self) -> None:
        if not self.steps:
            return
        self.done += 1
        if self.done == WARM_UP:
            devices = [ProfilerActivity.CUDA] if torch.cuda.is_available() else []
            self.profiler = profile(activities=[ProfilerActivity.CPU, *devices])
            self.profiler.start()
        elif self.done == WARM_UP + self.steps:
            self.close()

    def close(self) -> None:
        """Write what was seen, if a trace is being made."""
        if self.profiler:
            self.profiler.stop()
            self.profiler.export_chrome_trace(str(self.target))
        self.profiler, self.steps = None, 0
