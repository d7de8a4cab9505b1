"""Instance memory: one unit row per image, outliers included (SDCL). N images, D dimensions."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sdcl.memory.momentum import sequential_update
from sdcl.runtime.validation import as_features


class InstanceMemory(nn.Module):
    """N unit rows, rebuilt from the extracted features at each epoch."""

    def __init__(self, features: Tensor):
        super().__init__()
        self.register_buffer("rows", F.normalize(as_features("features", features)))

    def forward(self) -> Tensor:
        """A snapshot (N, D): later updates do not reach into a loss that was built from it."""
        return self.rows.clone()

    @torch.no_grad()
    def update(self, features: Tensor, indexes: np.ndarray, momentum: float, *, raw: bool = True) -> None:
        """row <- unit(momentum * row + (1 - momentum) * feature), sample after sample.

        Args:
            features: (B, D) of the whole global batch. indexes: int (B,) rows, repeats allowed.
            raw: released arithmetic: the feature enters with its own norm (about sqrt(D)), so that it outweighs the
                old row although momentum is 0.9. False normalises it first, and momentum means what it says.
        """
        values = features.to(self.rows.dtype)
        sequential_update(self.rows, values if raw else F.normalize(values), indexes, momentum)
