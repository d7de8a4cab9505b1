"""The forward pass of one training step in the slices that the released two-GPU run had.

DataParallel gave each GPU a slice of the batch: BatchNorm saw one slice at a time, and only the first GPU's running statistics
survived. With the visible batch ordered [plain views ; channel-exchanged views], two slices mean that the exchanged views never enter
the statistics. The same slices here on any number of processes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn


class Replicas(nn.Module):
    """Run `model` on `count` slices of this process's rows, the first of which is slice `first` of the whole batch."""

    def __init__(self, model: nn.Module, count: int, first: int):
        super().__init__()
        self.model, self.count, self.first = model, count, first

    def forward(self, images: dict[str, Tensor], seed: int) -> dict[str, dict[str, Tensor]]:
        """images: modality -> (B, 3, H, W) of this process. seed: of stochastic depth, made different for each slice."""
        slices = {m: x.chunk(self.count) for m, x in images.items()}
        outputs = []
        for r in range(self.count):
            torch.manual_seed(seed + self.first + r)
            with nullcontext() if self.first + r == 0 else frozen_running_stats(self.model):
                outputs.append(self.model({m: parts[r] for m, parts in slices.items()}))
        return {m: {b: torch.cat([out[m][b] for out in outputs]) for b in branches} for m, branches in outputs[0].items()}


@contextmanager
def frozen_running_stats(model: nn.Module) -> Iterator[None]:
    """Within the block training-mode BatchNorm uses batch statistics and leaves running_mean, running_var and its counter alone."""
    layers = [m for m in model.modules() if getattr(m, "track_running_stats", False)]
    for layer in layers:
        layer.track_running_stats = False
    try:
        yield
    finally:
        for layer in layers:
            layer.track_running_stats = True
