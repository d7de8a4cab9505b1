"""Contrasts with hybrid memories (BMIL, AAAI 2026, arXiv 2512.07760).

B images of a batch, C clusters, P prototypes, D dimensions.
"""

from __future__ import annotations

from typing import cast

import numpy as np
from torch import Tensor, nn

from sdcl.config.settings import MemorySettings
from sdcl.datasets import MODALITIES
from sdcl.losses import hybrid_contrast, multi_positive_contrast
from sdcl.memory import HybridMemory, Prototypes, centroids
from sdcl.methods.interface import Batch, Features
from sdcl.methods.parts.cluster_contrast import Source
from sdcl.runtime.devices import upload


class HybridContrast(nn.Module):
    """A hybrid memory for each branch and modality, and their loss terms with a margin.

    Args:
        sources: modality -> images whose centroids fill its memory. margin: see `hybrid_contrast`.
        first: see `ClusterContrast`.
    """

    def __init__(self, sources: dict[str, Source], settings: MemorySettings, margin: float, *, first: bool):
        super().__init__()
        self.settings, self.margin = settings, margin
        self.momentum = (settings.momentum_first or settings.momentum) if first else settings.momentum
        self.memories = nn.ModuleDict(  # branch -> modality -> memory
            {
                branch: nn.ModuleDict(
                    {m: HybridMemory(centroids(images[branch], ids)) for m, (images, ids) in sources.items()}
                )
                for branch in next(iter(sources.values()))[0]
            }
        )

    def memory(self, modality: str, branch: str = "deep") -> HybridMemory:
        """The memory of a modality."""
        return cast("HybridMemory", cast("nn.ModuleDict", self.memories[branch])[modality])

    def forward(self, features: Features, gathered: Features, batch: Batch) -> dict[str, Tensor]:
        """One term per modality and branch, weight 1; then the memories take in the batch.

        See `Stage.objectives`.
        """
        terms = {}
        for branch in self.memories:
            for m in MODALITIES:
                memory, live, whole = self.memory(m, branch), features[m][branch], gathered[m][branch]
                mean, hard = memory()
                labels = upload(batch.labels[m], live.device)
                terms[f"hybrid_{m}_{branch}"] = hybrid_contrast(
                    live,
                    labels[batch.local[m]],
                    mean,
                    hard,
                    self.settings.temp,
                    self.margin,
                    whole=None if len(whole) == len(live) else (whole, labels),
                )
                memory.update(whole, batch.labels[m], self.momentum)
        return terms


class SplitContrast(nn.Module):
    """One hybrid memory of prototypes for each branch, a prototype for each modality of each common cluster.

    Args:
        prototypes: branch -> prototypes, with parts 0 (visible) and 1 (infrared). selected: see
            `multi_positive_contrast`.
        first: see `ClusterContrast`.
    """

    def __init__(
        self, prototypes: dict[str, Prototypes], settings: MemorySettings, selected: int, *, first: bool
    ):
        super().__init__()
        self.settings, self.selected = settings, selected
        self.momentum = (settings.momentum_first or settings.momentum) if first else settings.momentum
        self.memories = nn.ModuleDict({b: HybridMemory(p.rows) for b, p in prototypes.items()})
        one = next(iter(prototypes.values()))  # clusters and parts are the same in all branches
        self.clusters = one.clusters  # int (P,)
        self.prototype_of = {  # modality -> int (C,): prototype of each cluster, -1 for none
            m: np.full(int(one.clusters.max()) + 1, -1) for m in MODALITIES
        }
        for part, m in enumerate(MODALITIES):
            here = np.flatnonzero(one.parts == part)
            self.prototype_of[m][one.clusters[here]] = here

    def memory(self, branch: str = "deep") -> HybridMemory:
        """The memory of a branch."""
        return cast("HybridMemory", self.memories[branch])

    def forward(self, features: Features, gathered: Features, batch: Batch) -> dict[str, Tensor]:
        """One term per modality and branch, weight 1/2; then the memories take in the batch, visible
        images first.

        With late gradients the infrared terms use memories that the visible images have updated. See
        `Stage.objectives`.
        """
        terms = {}
        targets = {m: self.prototype_of[m][batch.labels[m]] for m in MODALITIES}
        for branch in self.memories:
            memory = self.memory(branch)
            before = memory()
            clusters = upload(self.clusters, before[0].device)
            for m in MODALITIES:
                late = memory() if self.settings.late_gradients else (None, None)
                rows = upload(targets[m][batch.local[m]], clusters.device)
                losses = [
                    multi_positive_contrast(
                        features[m][branch], rows, clusters, bank, self.settings.temp, self.selected, newer
                    )
                    for bank, newer in zip(before, late)
                ]
                terms[f"joint_{m}_{branch}"] = 0.5 * (0.5 * (losses[0] + losses[1]))
                memory.update(gathered[m][branch], targets[m], self.momentum)
        return terms
