"""Contrast with the camera proxies of the clusters (DCCL, our reading, see sdcl/methods/dccl.py).

B images of a batch, N images, P proxies, D dimensions.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from sdcl.losses import camera_contrast
from sdcl.memory import Prototypes
from sdcl.methods.interface import Batch, Features, Indexes
from sdcl.runtime.devices import upload


class CameraContrast(nn.Module):
    """The camera proxies of each modality, which stay as they are in an epoch, and their loss terms.

    Args:
        proxies: modality -> a proxy for each camera that saw a cluster. cameras: modality -> int (N,), of the
            training images. weight: of the terms. temperature, negatives: see `camera_contrast`.
    """

    def __init__(
        self,
        proxies: dict[str, Prototypes],
        cameras: Indexes,
        *,
        weight: float,
        temperature: float,
        negatives: int,
    ):
        super().__init__()
        self.cameras, self.weight, self.temperature, self.negatives = cameras, weight, temperature, negatives
        self.modalities = tuple(proxies)
        for m, p in proxies.items():
            self.register_buffer(f"{m}_rows", p.rows)
            self.register_buffer(f"{m}_clusters", torch.as_tensor(p.clusters, device=p.rows.device))

    def forward(self, features: Features, gathered: Features, batch: Batch) -> dict[str, Tensor]:
        """One term per modality: the mean over each camera's images in the global batch, summed over its
        cameras.

        See `Stage.objectives` for the arguments.
        """
        terms = {}
        for m in self.modalities:
            live, cameras = features[m]["deep"], self.cameras[m][batch.indexes[m]]  # cameras: all B images
            # The mean over the processes is then that over the global batch.
            sharing = (np.bincount(cameras)[cameras] * (len(live) / len(cameras))).astype(np.float32)
            mine = (of_all[batch.local[m]] for of_all in (batch.labels[m], cameras, sharing))
            clusters, cams, counts = (upload(values, live.device) for values in mine)
            loss = camera_contrast(
                live,
                clusters,
                cams,
                self.get_buffer(f"{m}_rows"),
                self.get_buffer(f"{m}_clusters"),
                self.temperature,
                self.negatives,
                counts,
            )
            terms[f"camera_{m}_deep"] = self.weight * loss
        return terms
