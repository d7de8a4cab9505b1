"""What every method of the family shares: clusters of each modality, and the contrast of each image with its cluster's memory row.

B rows of a batch, N images, K clusters, D dimensions.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from sdcl.clustering import PseudoLabels, pseudo_labels
from sdcl.config.settings import ClusterSettings, MemorySettings
from sdcl.datasets.sample import MODALITIES
from sdcl.losses import cluster_contrast
from sdcl.memory import ClusterMemory, centroids
from sdcl.methods.interface import Batch, Features, Once, require_clusters

Banked = dict[str, tuple[dict[str, Tensor], np.ndarray]]  # modality -> the images whose centroids it contrasts with, and their labels


def cluster(features: Tensor, own: ClusterSettings, *, normalize: bool, eps: float | None = None, k1: int | None = None) -> PseudoLabels:
    """Jaccard distance and DBSCAN with the run's settings; `eps` and `k1` where a method has its own.

    With fewer than two clusters, where the released code ends in an error, eps is moved: up if most images are outliers, else down.
    """
    radius = first = own.eps if eps is None else eps
    for _ in range(own.eps_backoff + 1):
        found = pseudo_labels(
            features,
            k1=own.k1 if k1 is None else k1,
            k2=own.k2,
            eps=radius,
            min_samples=own.min_samples,
            backend=own.knn,
            normalize=normalize,
        )
        moved = radius + (own.eps_step if 2 * found.outliers > len(found.ids) else -own.eps_step)
        if found.occupied >= 2 or not 0 < moved < 1 or (moved - radius) * (radius - first) < 0:  # never back and forth
            break
        radius = moved
    return found


def cluster_each(features: Features, own: ClusterSettings, once: Once, epoch: int) -> dict[str, PseudoLabels]:
    """Pseudo-labels of each modality from its deep features as they were extracted.

    Raises:
        NoClusters: a modality fell apart or together.
    """
    found = once(lambda: {m: cluster(features[m]["deep"], own, normalize=False) for m in features})
    require_clusters(found, own.eps, epoch)
    return found


def shared(features: Features, ids: dict[str, np.ndarray]) -> Banked:
    """One set of centroids over the images of both modalities."""
    joined = {b: torch.cat([features[m][b] for m in MODALITIES]) for b in features["visible"]}
    return dict.fromkeys(MODALITIES, (joined, np.concatenate([ids[m] for m in MODALITIES])))


class ClusterContrast(nn.Module):
    """The cluster memories of a stage, one for each branch and modality, and their loss terms (ClusterNCE).

    Modalities that are given the same images and labels (the same tuple) share the memory. In the `first` epoch, which can collapse,
    the memories have a momentum of their own.
    """

    def __init__(self, banked: Banked, own: MemorySettings, *, first: bool):
        super().__init__()
        self.own = own
        self.momentum = (own.momentum_first or own.momentum) if first else own.momentum
        self.memories = nn.ModuleDict()  # branch -> modality -> memory
        for branch in next(iter(banked.values()))[0]:
            made: dict[int, ClusterMemory] = {}
            for m, (images, ids) in banked.items():
                if id(banked[m]) not in made:
                    made[id(banked[m])] = ClusterMemory(centroids(images[branch], ids))
            self.memories[branch] = nn.ModuleDict({m: made[id(banked[m])] for m in banked})

    def forward(self, features: Features, everyone: Features, batch: Batch) -> dict[str, Tensor]:
        """-log softmax(f M^T / tau)[y], one term per modality and branch, weight 1. Moves the memories on; see `Stage.objective`.

        A shared memory is moved by the visible batch first; with `late_gradients` the infrared term's gradient meets it moved.
        """
        terms = {}
        for branch, memories in self.memories.items():
            banks = {m: memories[m]() for m in MODALITIES}  # as all forward passes see them
            for m in MODALITIES:
                late = memories[m]() if self.own.late_gradients else None
                labels = torch.as_tensor(batch.labels[m][batch.local[m]], device=banks[m].device)
                terms[f"cluster_{m}_{branch}"] = cluster_contrast(features[m][branch], labels, banks[m], self.own.temp, late)
                memories[m].update(everyone[m][branch], batch.labels[m], self.momentum, hardest=self.own.use_hard)
        return terms
