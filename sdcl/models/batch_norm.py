"""BatchNorm layers that normalise a slice without remembering it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


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
