"""Instance memory of SDCL, HIL and DCCL: one row per training image, outliers included.

Legend: N images, B images of a batch, D dimensions.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sdcl.memory.momentum import sequential_update
from sdcl.runtime.validation import as_features


class InstanceMemory(nn.Module):
    """Features of all images, unit rows that follow the batches with momentum; rebuilt at each epoch.

    Args:
        features: (N, D), any norm.
    """

    rows: Tensor  # (N, D), a buffer

    def __init__(self, features: Tensor):
        super().__init__()
        self.register_buffer("rows", F.normalize(as_features("features", features)))

    def forward(self) -> Tensor:
        """Copy of the entries (N, D), which later updates do not change."""
        return self.rows.clone()

    @torch.no_grad()
    def update(self, features: Tensor, indexes: np.ndarray, momentum: float, *, raw: bool = True) -> None:
        """Momentum update by a batch: W[i] <- unit(momentum W[i] + (1 - momentum) f), in batch order.

        Args:
            features: (B, D) of the global batch. indexes: int (B,), rows of the memory; repeats allowed.
            momentum: weight of the old entry, 0 to 1.
            raw: as released, the feature enters without normalisation (norm about sqrt(D)), so that it
                outweighs the old entry although momentum is 0.9. False normalises it first.

        Raises:
            ValueError: not one index for each feature, or an index that is no row of the memory.
        """
        values = features.to(self.rows.dtype)
        sequential_update(self.rows, values if raw else F.normalize(values), indexes, momentum)
