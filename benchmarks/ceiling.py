"""Upper bound of a synthetic set: SDCL's model, images and steps, trained with the true identities.

    python benchmarks/ceiling.py -d sysu --data-dir DIR --config examples/quickstart.json

All flags are those of `sdcl train`.

Every image is contrasted with the prototypes of its identity in both modalities, in place of pseudo-labels
and association. It reads the identities of both modalities, of which `sdcl train` reads those of one side at
most (--labels), and shows how far images, model and number of steps let an unsupervised method come.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from sdcl import METHODS, config, train
from sdcl.clustering import PseudoLabels
from sdcl.datasets import MODALITIES, open_dataset
from sdcl.losses import cluster_contrast
from sdcl.memory import ClusterMemory, centroids
from sdcl.methods.interface import Batch, Extract, Features, Indexes, Once, Stage, label_sets
from sdcl.methods.sdcl import SDCL


class Ceiling:
    """One stage per epoch, on the identities themselves. See `sdcl.methods.interface.Method`."""

    title, paper = "Upper bound with identities", ""
    SETTINGS, RECIPES = SDCL.SETTINGS, SDCL.RECIPES
    branches, agw, unit_views = SDCL.branches, SDCL.agw, SDCL.unit_views
    restarts: tuple[int, ...] = ()

    def __init__(self, settings: config.Settings, cameras: Indexes):
        self.memory, self.batch = settings.memory, settings.batch
        samples = open_dataset(settings.data.dataset, settings.data_dir, trial=settings.data.trial).train
        both = set.intersection(*({s.identity for s in split} for split in samples.values()))
        label_of = {identity: label for label, identity in enumerate(sorted(both))}
        self.labels = {
            m: PseudoLabels(np.array([label_of.get(s.identity, -1) for s in split]), len(both))
            for m, split in samples.items()
        }

    def stages(self, epoch: int, extract: Extract, once: Once) -> Iterator[Stage]:
        labels = {m: y.ids for m, y in self.labels.items()}
        objective = SupervisedContrast(extract(), labels, self.memory)
        yield Stage("supervised", labels, self.batch.iters, {"contrast": objective}, label_sets(self.labels))

    def steps_per_epoch(self) -> int:
        return self.batch.iters


class SupervisedContrast(nn.Module):
    """A prototype of each identity in each modality and branch; all images against both modalities."""

    def __init__(self, features: Features, labels: Indexes, settings: config.settings.MemorySettings):
        super().__init__()
        self.settings = settings
        self.memories = nn.ModuleDict()  # modality -> branch -> memory
        for m in MODALITIES:
            memories = {b: ClusterMemory(centroids(f, labels[m])) for b, f in features[m].items()}
            self.memories[m] = nn.ModuleDict(memories)

    def forward(self, features: Features, gathered: Features, batch: Batch) -> dict[str, Tensor]:
        terms = {}
        for key, memories in self.memories.items():
            for branch, memory in memories.items():
                prototypes = memory()
                for query in MODALITIES:
                    labels = torch.as_tensor(
                        batch.labels[query][batch.local[query]], device=prototypes.device
                    )
                    loss = cluster_contrast(features[query][branch], labels, prototypes, self.settings.temp)
                    terms[f"{query}_{key}_{branch}"] = loss
                memory.update(gathered[key][branch], batch.labels[key], self.settings.momentum)
        return terms


def main(flags: list[str]) -> int:
    """Run `sdcl train FLAGS` with this method."""
    METHODS.register("ceiling", Ceiling)
    return train.main([*flags, "--method", "ceiling"])  # the last --method counts


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
