"""ADCA: Augmented Dual-Contrastive Aggregation Learning for Unsupervised Visible-Infrared Person
Re-Identification.

Bin Yang, Mang Ye, Jun Chen, Zesen Wu. ACM MM 2022. https://doi.org/10.1145/3503161.3548198
Released code: https://github.com/yangbincv/ADCA. Contributions, and the calls that implement them:

    dual-contrastive learning (DCL)           `ClusterContrast`: one memory per modality, visible images in
                                              two views; stage 1
    random channel augmentation               the second, channel-exchanged view (--second-view)
    cross-modality memory aggregation (CMA)   `count_matches`, `one_to_one`, `aggregate`; stage 2

Per epoch: extract -> pseudo-labels of each modality -> memories -> (stage 2) visible prototypes move to their
infrared partners -> steps. Stage 2 begins with a new optimiser and learning rate, and with the weights of
stage 1's last epoch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from sdcl import association
from sdcl.config.fields import AT_LEAST_0, SHARE, setting
from sdcl.methods import parts
from sdcl.methods.interface import Extract, Features, Indexes, Once, Stage, label_sets
from sdcl.methods.recipes import RESNET, RESNET_REGDB

if TYPE_CHECKING:
    from sdcl.config import Settings


@dataclass(frozen=True)
class ADCASettings:
    """Settings of ADCA's second stage."""

    cma: bool = setting(True, "cross-modality memory aggregation; off: the first stage goes on to the end")
    aggregate_from: int = setting(
        50,
        "first epoch of the second stage (CMA), which starts with a new optimiser",
        bounds=AT_LEAST_0,
        first_epoch=True,
        needs={"cma": True},
    )
    cma_threshold: float = setting(
        0.5, "smallest dot product of two images that counts for their pair of clusters", needs={"cma": True}
    )
    cma_weight: float = setting(
        0.9,
        "weight of the infrared prototype in the visible prototype of a matched pair",
        bounds=SHARE,
        needs={"cma": True},
    )


class ADCA:
    """One stage per epoch: "contrast", then "aggregated"."""

    title = "Augmented Dual-Contrastive Aggregation Learning"
    paper = "https://doi.org/10.1145/3503161.3548198"
    SETTINGS = ADCASettings
    RECIPES: ClassVar[dict[str, dict[str, Any]]] = {
        "sysu": {**RESNET, "epochs": 100},
        "regdb": {**RESNET_REGDB, "epochs": 100},
    }
    released_line: ClassVar[dict[str, dict[str, Any]]] = {"regdb": {"eps": 0.6}}
    branches = ("deep",)
    agw = "resnet50"
    unread = frozenset({"late_gradients"})  # each of its memories serves one term of a step
    labels = ("none", "visible", "infrared")
    unit_views = True

    def __init__(self, settings: Settings, cameras: Indexes | None = None, identities: Indexes | None = None):
        self.identities = identities
        self.adca: ADCASettings = settings.method
        self.cluster, self.memory, self.batch = settings.cluster, settings.memory, settings.batch
        self.restarts = (self.adca.aggregate_from,) if self.adca.cma else ()

    def stages(self, epoch: int, extract: Extract, once: Once) -> Iterator[Stage]:
        """See `Method.stages`."""
        features = extract()
        pseudo = parts.cluster_each(features, self.cluster, once, epoch, self.identities)
        labels = {m: y.ids for m, y in pseudo.items()}
        sources = {m: (features[m], labels[m]) for m in labels}
        contrast = parts.ClusterContrast(sources, self.memory, first=epoch == 0)
        name = "contrast"
        if self.adca.cma and epoch >= self.adca.aggregate_from:
            name = "aggregated"
            pairs = once(lambda: self._matches(features, labels))
            visible, infrared = contrast.memory("visible"), contrast.memory("infrared")
            visible.replace(association.aggregate(visible(), infrared(), pairs, self.adca.cma_weight))
        yield Stage(name, labels, self.batch.iters, {"contrast": contrast}, label_sets(pseudo))

    def _matches(self, features: Features, labels: dict[str, np.ndarray]) -> np.ndarray:
        """CMA's matched clusters, int (A, 2): visible and infrared label."""
        table = association.count_matches(
            features["visible"]["deep"],
            features["infrared"]["deep"],
            labels["visible"],
            labels["infrared"],
            self.adca.cma_threshold,
        )
        return association.one_to_one(table)

    def steps_per_epoch(self) -> int:
        """See `Method.steps_per_epoch`."""
        return self.batch.iters
