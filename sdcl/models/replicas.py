"""Slices of a batch that BatchNorm normalises apart, as in the released ADCA, GUR and SDCL code.

DataParallel gave each GPU a slice of the batch: BatchNorm saw one slice at a time, and only the first GPU's
running statistics were kept. With the visible batch ordered [plain views ; channel-exchanged views], two
slices mean that the exchanged views never enter the statistics. `Replicas` makes the same slices on any
number of processes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn


class Replicas(nn.Module):
    """Run a network on slices of this process's images, one after another.

    Args:
        count: slices of this process.
        first: index of the first of them in the whole batch.
    """

    def __init__(self, model: nn.Module, count: int, first: int):
        super().__init__()
        self.model, self.count, self.first = model, count, first

    def forward(self, images: dict[str, Tensor], seed: int) -> dict[str, dict[str, Tensor]]:
        """modality -> (B_m, 3, H, W) of this process gives modality -> branch -> (B_m, D).

        Args:
            seed: of stochastic depth; slice i of the whole batch uses seed + i.
        """
        slices = {m: x.chunk(self.count) for m, x in images.items()}
        outputs = []
        for r in range(self.count):
            torch.manual_seed(seed + self.first + r)
            with nullcontext() if self.first + r == 0 else frozen_running_stats(self.model):
                outputs.append(self.model({m: parts[r] for m, parts in slices.items()}))
        return {
            m: {b: torch.cat([out[m][b] for out in outputs]) for b in branches}
            for m, branches in outputs[0].items()
        }


@contextmanager
def frozen_running_stats(model: nn.Module) -> Iterator[None]:
    """Freeze BatchNorm's running statistics within the block; training still uses batch statistics."""
    layers: list[Any] = [m for m in model.modules() if getattr(m, "track_running_stats", False)]
    for layer in layers:
        layer.track_running_stats = False
    try:
        yield
    finally:
        for layer in layers:
            layer.track_running_stats = True
