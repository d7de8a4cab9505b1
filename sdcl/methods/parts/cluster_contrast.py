"""Contrast of each image with the cluster memories (ClusterNCE of Cluster Contrast,
https://arxiv.org/abs/2103.11568).

B images of a batch, N images, K clusters, D dimensions; f live features, M cluster memory, y cluster, tau
temperature.
"""

from __future__ import annotations

from typing import TypeAlias, cast

import numpy as np
import torch
from torch import Tensor, nn

from sdcl.config.groups import MemorySettings
from sdcl.datasets import MODALITIES
from sdcl.losses import cluster_contrast
from sdcl.memory import ClusterMemory, centroids
from sdcl.methods.interface import Batch, Features
from sdcl.runtime.devices import upload

# branch -> (N, D) features, and labels (N,): what centroids are made of
Source: TypeAlias = tuple[dict[str, Tensor], np.ndarray]


def joint_source(features: Features, labels: dict[str, np.ndarray]) -> Source:
    """The images of both modalities as one source of centroids."""
    joined = {b: torch.cat([features[m][b] for m in MODALITIES]) for b in features["visible"]}
    return joined, np.concatenate([labels[m] for m in MODALITIES])


class ClusterContrast(nn.Module):
    """The cluster memories of a stage, one for each branch and modality, and their loss terms.

    Args:
        sources: modality -> images whose centroids fill its memory; or a single source: both modalities share
            one memory a branch.
        first: this is the first epoch, whose momentum may differ because it can collapse (--momentum-first).
    """

    def __init__(self, sources: dict[str, Source] | Source, settings: MemorySettings, *, first: bool):
        super().__init__()
        self.settings = settings
        self.momentum = (settings.momentum_first or settings.momentum) if first else settings.momentum
        self.memories = nn.ModuleDict()  # branch -> modality -> memory
        if isinstance(sources, dict):
            for branch in next(iter(sources.values()))[0]:
                self.memories[branch] = nn.ModuleDict(
                    {
                        m: ClusterMemory(centroids(images[branch], labels))
                        for m, (images, labels) in sources.items()
                    }
                )
        else:
            images, labels = sources
            for branch, features in images.items():
                shared = ClusterMemory(centroids(features, labels))
                self.memories[branch] = nn.ModuleDict(dict.fromkeys(MODALITIES, shared))

    def memory(self, modality: str, branch: str = "deep") -> ClusterMemory:
        """The memory of a modality."""
        return cast("ClusterMemory", cast("nn.ModuleDict", self.memories[branch])[modality])

    def forward(self, features: Features, gathered: Features, batch: Batch) -> dict[str, Tensor]:
        """-log softmax(unit(f) M^T / tau)[y], one term per modality and branch, weight 1; then the
        memories take in the batch.

        A shared memory takes in the visible batch first; with late gradients the infrared term's gradient
        uses the updated memory. See `Stage.objectives` for the arguments.
        """
        return self.within(features, gathered, batch, self.snapshots())

    def snapshots(self) -> dict[str, dict[str, Tensor]]:
        """branch -> modality -> prototypes (K, D), as all forward passes of a step see them."""
        return {b: {m: self.memory(m, b)() for m in MODALITIES} for b in self.memories}

    def within(
        self, features: Features, gathered: Features, batch: Batch, prototypes: dict[str, dict[str, Tensor]]
    ) -> dict[str, Tensor]:
        """`forward` with the snapshots given: what the losses see, also where the memories were
        updated since.
        """
        terms = {}
        for branch, snapshots in prototypes.items():
            memories = {m: self.memory(m, branch) for m in MODALITIES}
            for m in MODALITIES:
                late = memories[m]() if self.settings.late_gradients else None
                labels = upload(batch.labels[m][batch.local[m]], snapshots[m].device)
                terms[f"cluster_{m}_{branch}"] = cluster_contrast(
                    features[m][branch], labels, snapshots[m], self.settings.temp, late
                )
                memories[m].update(
                    gathered[m][branch], batch.labels[m], self.momentum, hardest=self.settings.use_hard
                )
        return terms
