"""Baseline: cluster contrast within each modality, nothing across (Dai et al., Cluster Contrast, ACCV 2022). The reference row of every table."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from sdcl.config.settings import Settings
from sdcl.methods.cluster_contrast import ClusterContrast, cluster_each
from sdcl.methods.interface import Extract, Once, Stage, label_sets


class Baseline:
    """One stage per epoch."""

    restarts: tuple[int, ...] = ()
    unit_views = True

    def __init__(self, settings: Settings, cameras: dict[str, np.ndarray] | None = None):
        self.cluster, self.memory, self.batch = settings.cluster, settings.memory, settings.batch

    def stages(self, epoch: int, extract: Extract, once: Once) -> Iterator[Stage]:
        """See `Method.stages`."""
        features = extract()
        own = cluster_each(features, self.cluster, once, epoch)
        ids = {m: found.ids for m, found in own.items()}
        contrast = ClusterContrast({m: (features[m], ids[m]) for m in ids}, self.memory, first=epoch == 0)
        yield Stage("contrast", ids, self.batch.iters, contrast, label_sets(own))
