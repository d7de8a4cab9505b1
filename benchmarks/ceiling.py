"""The ceiling of a synthetic set: SDCL's model, images and steps, trained with the TRUE identities of both modalities.

    python benchmarks/ceiling.py FLAGS-OF-sdcl.train          # such as -d sysu --config examples/quickstart.json --data-dir ...

Every image is contrasted with the people's memories of its own and of the other modality, in place of pseudo-labels and
association. It reads the labels that no training program of sdcl reads: it tells how far images, model and steps allow an unsupervised method to go.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from sdcl import methods
from sdcl import train as training
from sdcl.clustering import PseudoLabels
from sdcl.config import settings as config
from sdcl.datasets import open_dataset
from sdcl.datasets.sample import MODALITIES
from sdcl.losses import cluster_contrast
from sdcl.memory import ClusterMemory, centroids
from sdcl.methods.interface import Batch, Extract, Features, Once, Stage


class Supervised:
    """One stage per epoch on the identities themselves."""

    restarts: tuple[int, ...] = ()
    unit_views = False

    def __init__(self, settings: config.Settings, cameras: dict[str, np.ndarray] | None = None):
        self.memory, self.batch = settings.memory, settings.batch
        samples = open_dataset(settings.data.dataset, settings.data_dir, trial=settings.data.trial).train
        people = sorted(set.intersection(*({s.identity for s in rows} for rows in samples.values())))
        number = {
            identity: n for n, identity in enumerate(people)
        }  # who is seen in one modality only is left out
        self.labels = {
            m: PseudoLabels(np.array([number.get(s.identity, -1) for s in rows]), len(people))
            for m, rows in samples.items()
        }

    def stages(self, epoch: int, extract: Extract, once: Once) -> Iterator[Stage]:
        ids = {m: found.ids for m, found in self.labels.items()}
        yield Stage("supervised", ids, self.batch.iters, Contrast(extract(), ids, self.memory), self.labels)


class Contrast(nn.Module):
    """A memory of each person in each modality; all images against both."""

    def __init__(self, features: Features, ids: dict[str, np.ndarray], own: config.MemorySettings):
        super().__init__()
        self.own = own
        self.memories = nn.ModuleDict(
            {
                m: nn.ModuleDict({b: ClusterMemory(centroids(f, ids[m])) for b, f in features[m].items()})
                for m in MODALITIES
            }
        )

    def forward(self, features: Features, everyone: Features, batch: Batch) -> dict[str, Tensor]:
        terms = {}
        for key, memories in self.memories.items():
            for branch, memory in memories.items():
                rows = memory()
                for query in MODALITIES:
                    people = torch.as_tensor(batch.labels[query][batch.local[query]], device=rows.device)
                    terms[f"{query}_{key}_{branch}"] = cluster_contrast(
                        features[query][branch], people, rows, self.own.temp
                    )
                memory.update(everyone[key][branch], batch.labels[key], self.own.momentum)
        return terms


if __name__ == "__main__":
    methods.METHODS["sdcl"] = Supervised
    sys.exit(
        training.main([*sys.argv[1:], "--method", "sdcl"])
    )  # the last one counts: no other method runs under this name
