"""ADCA: Augmented Dual-Contrastive Aggregation Learning for Unsupervised Visible-Infrared Person Re-Identification.

Bin Yang, Mang Ye, Jun Chen, Zesen Wu. ACM MM 2022. Contributions, and what is each of them:

    dual-contrastive learning       `ClusterContrast`: one memory per modality, visible images in two views   (DCL, stage 1)
    random channel augmentation     the second, channel-exchanged view (`sdcl.data.augment`; --second-view)
    cross-modality memory aggregation `count_matches`, `one_to_one`, `aggregate`                               (CMA, stage 2)

Per epoch: extract -> pseudo-labels of each modality -> memories -> (stage 2) visible rows move to their infrared partners -> iterations.
Stage 2 begins with a new optimiser and learning rate, and with the weights of stage 1's last epoch.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from sdcl.association import aggregate, count_matches, one_to_one
from sdcl.config.settings import Settings
from sdcl.datasets.sample import MODALITIES
from sdcl.methods.cluster_contrast import ClusterContrast, cluster_each
from sdcl.methods.interface import Extract, Features, Once, Stage, label_sets


class ADCA:
    """One stage per epoch: "contrast", then "aggregated"."""

    unit_views = True

    def __init__(self, settings: Settings, cameras: dict[str, np.ndarray] | None = None):
        self.own = settings.adca
        self.cluster, self.memory, self.batch = settings.cluster, settings.memory, settings.batch
        self.restarts = (self.own.aggregate_from,) if self.own.cma else ()

    def stages(self, epoch: int, extract: Extract, once: Once) -> Iterator[Stage]:
        """See `Method.stages`."""
        features = extract()
        own = cluster_each(features, self.cluster, once, epoch)
        ids = {m: found.ids for m, found in own.items()}
        contrast = ClusterContrast({m: (features[m], ids[m]) for m in ids}, self.memory, first=epoch == 0)
        aggregated = self.own.cma and epoch >= self.own.aggregate_from
        if aggregated:
            pairs = once(lambda: self.matches(features, ids))
            visible, infrared = (contrast.memories["deep"][m].rows for m in MODALITIES)
            visible.copy_(aggregate(visible, infrared, pairs, self.own.cma_weight))
        yield Stage("aggregated" if aggregated else "contrast", ids, self.batch.iters, contrast, label_sets(own))

    def matches(self, features: Features, ids: dict[str, np.ndarray]) -> np.ndarray:
        """CMA's pairs of clusters, int (A, 2), from pairs of images that reach the threshold."""
        pair = [features[m]["deep"] for m in MODALITIES]
        return one_to_one(count_matches(*pair, ids["visible"], ids["infrared"], self.own.cma_threshold))
