"""Cluster contrast within and across the modalities on one memory each (PGM, CVPR 2023).

B images of a batch, K clusters, D dimensions.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from sdcl.config.settings import MemorySettings
from sdcl.datasets import MODALITIES
from sdcl.losses import cluster_contrast
from sdcl.methods.interface import Batch, Features
from sdcl.methods.parts.cluster_contrast import ClusterContrast, Source
from sdcl.runtime.devices import upload


class AlternateContrast(ClusterContrast):
    """`ClusterContrast`, and the contrast of one modality with the memory of the other under matched labels.

    Args:
        sources: modality -> images whose centroids fill its memory. first: see `ClusterContrast`.
        anchor: modality whose images are contrasted with the other's memory.
        partners: int (K,), cluster of the other modality for each cluster of the anchor's, -1 for none.
        weight: of the cross terms. It does not weaken the update: the anchor's images move the other memory
            as its own images do.
    """

    def __init__(
        self,
        sources: dict[str, Source],
        settings: MemorySettings,
        *,
        first: bool,
        anchor: str,
        partners: np.ndarray,
        weight: float,
    ):
        super().__init__(sources, settings, first=first)
        self.anchor, self.partners, self.weight = anchor, partners, weight
        self.target = next(m for m in MODALITIES if m != anchor)

    def forward(self, features: Features, gathered: Features, batch: Batch) -> dict[str, Tensor]:
        """Terms of each modality, weight 1, and the cross terms; then the memories take in the batch,
        the anchor's images first.

        With late gradients the terms within the modalities use memories that the cross term has updated. See
        `Stage.objectives`.
        """
        prototypes, terms = self.snapshots(), {}
        partners = self.partners[batch.labels[self.anchor]]  # (B,)
        local = partners[batch.local[self.anchor]]
        for branch, seen in prototypes.items():
            live, whole = features[self.anchor][branch], gathered[self.anchor][branch]
            here = upload(np.flatnonzero(local >= 0), live.device)
            labels = upload(local[local >= 0], live.device)
            contrast = live.sum() * 0  # no image with a partner
            if len(here):
                # The mean over the whole batch, however many of its matched images this process holds.
                share = len(here) * len(partners) / (len(local) * (partners >= 0).sum())
                contrast = share * cluster_contrast(live[here], labels, seen[self.target], self.settings.temp)
            terms[f"cross_{self.anchor}_{self.target}_{branch}"] = self.weight * contrast
            moving = upload(np.flatnonzero(partners >= 0), live.device)
            self.memory(self.target, branch).update(
                whole[moving], partners[partners >= 0], self.momentum, hardest=self.settings.use_hard
            )
        return self.within(features, gathered, batch, prototypes) | terms
