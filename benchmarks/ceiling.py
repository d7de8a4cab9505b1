"""The ceiling of a synthetic set: the model of a recipe trained with the TRUE identities of both modalities, at the same steps.

    python benchmarks/ceiling.py FLAGS-OF-sdcl.train          # such as -d sysu --config examples/quickstart.json --data-dir ...

Cluster contrast with one memory row per person, shared by the modalities, in place of pseudo-labels. It reads the labels that no
training program of sdcl reads: it tells how far the images and the model allow an unsupervised method to go.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np

from sdcl import config, methods
from sdcl import train as training
from sdcl.clustering import PseudoLabels
from sdcl.data import training_samples
from sdcl.methods.contrast import ClusterContrast, shared
from sdcl.methods.stage import Extract, Once, Stage


class Supervised:
    """One stage per epoch on the identities themselves."""

    restarts: tuple[int, ...] = ()
    unit_views = False

    def __init__(self, settings: config.Settings, cameras: dict[str, np.ndarray] | None = None):
        self.memory, self.batch = settings.memory, settings.batch
        samples = training_samples(settings.data.dataset, settings.data_dir, trial=settings.data.trial)
        people = sorted({s.identity for rows in samples.values() for s in rows})
        number = {identity: n for n, identity in enumerate(people)}
        self.labels = {m: PseudoLabels(np.array([number[s.identity] for s in rows]), len(people)) for m, rows in samples.items()}

    def stages(self, epoch: int, extract: Extract, once: Once) -> Iterator[Stage]:
        features = extract()
        ids = {m: found.ids for m, found in self.labels.items()}
        contrast = ClusterContrast(shared(features, ids), self.memory, first=epoch == 0)
        yield Stage("supervised", ids, self.batch.iters, contrast, self.labels)


if __name__ == "__main__":
    methods.METHODS["baseline"] = Supervised
    sys.exit(training.main(["--method", "baseline", *sys.argv[1:]]))
