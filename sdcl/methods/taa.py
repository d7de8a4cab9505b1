"""TAA: Translation, Association and Augmentation: learning cross-modality re-identification from
single-modality annotation.

Yang, Chen, Ma, Ye. IEEE Transactions on Image Processing 32, 5099-5113, 2023.
The setting of TAA (visible labelled, infrared not); the three parts are our reading of its title. Neither the
full text nor code was at hand. The parts, and the calls that implement them:

    translation     the second view of visible images, made infrared-like
                    (--translation, `sdcl.data.translation`)
    association     `associate_with_identities`: infrared clusters take visible identities; stage 2
    augmentation    the operations on all views (`sdcl.data.augment`)

Stage 1, per epoch: extract -> pseudo-labels of the infrared images -> a memory row per visible identity and
per infrared cluster -> steps with both visible views. Stage 2 also embeds the visible images translated,
once an epoch and with the weights that made the other features; the mean translated feature of each
identity is matched with the mean of each infrared cluster, and images of associated clusters are contrasted
with, and enter, the identities' memory. All infrared clusters keep a row of their own, so a wrong
association cannot take it away. Stage 2 begins with a new optimiser and learning rate. The infrared
identities are read by the log alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from sdcl import association, memory
from sdcl.clustering.labels import OUTLIER, LabelSet, PseudoLabels
from sdcl.config.fields import AT_LEAST_0, setting
from sdcl.methods import parts
from sdcl.methods.interface import Extract, Features, Indexes, Once, Stage, label_sets
from sdcl.methods.recipes import RESNET, RESNET_REGDB

if TYPE_CHECKING:
    from torch import nn

    from sdcl.config import Settings

_ASSOCIATE = {"associate": True}


@dataclass(frozen=True)
class TAASettings:
    """Settings of TAA's second stage."""

    associate: bool = setting(
        True, "associate infrared clusters with visible identities; off: the first stage goes on to the end"
    )
    associate_from: int = setting(
        50,
        "first epoch of the second stage (association), which starts with a new optimiser",
        bounds=AT_LEAST_0,
        first_epoch=True,
        needs=_ASSOCIATE,
    )
    associated_weight: float = setting(
        0.5,
        "weight of the contrast of associated infrared images with the identities' memory",
        bounds=AT_LEAST_0,
        needs=_ASSOCIATE,
    )


class TAA:
    """One stage per epoch: "contrast", then "associated"."""

    title = "Translation, Association and Augmentation"
    paper = "IEEE Transactions on Image Processing 32, 5099-5113, 2023"  # its address is not known here
    status = (
        "the setting of TAA (visible labelled, infrared not); the three parts are our reading of its title"
    )
    labels = ("visible",)  # what is translated is the labelled side
    SETTINGS = TAASettings
    RECIPES: ClassVar[dict[str, dict[str, Any]]] = {
        "sysu": {**RESNET, "epochs": 100, "labels": "visible", "late_gradients": False},
        "regdb": {**RESNET_REGDB, "epochs": 100, "labels": "visible", "late_gradients": False},
    }
    branches = ("deep",)
    agw = "resnet50"
    unit_views = True

    def __init__(self, settings: Settings, cameras: Indexes | None = None, identities: Indexes | None = None):
        self.taa: TAASettings = settings.method
        self.identities = identities
        self.cluster, self.memory, self.batch = settings.cluster, settings.memory, settings.batch
        self.restarts = (self.taa.associate_from,) if self.taa.associate else ()

    def stages(self, epoch: int, extract: Extract, once: Once) -> Iterator[Stage]:
        """See `Method.stages`."""
        features = extract()
        pseudo = parts.cluster_each(features, self.cluster, once, epoch, self.identities)
        labels, sets = {m: y.ids for m, y in pseudo.items()}, label_sets(pseudo)
        sources = {m: (features[m], labels[m]) for m in labels}
        contrast: nn.Module = parts.ClusterContrast(sources, self.memory, first=epoch == 0)
        name = "contrast"
        if self.taa.associate and epoch >= self.taa.associate_from:
            name = "associated"
            images = {"visible": np.arange(len(labels["visible"]))}
            translated = extract(images, translated=True)
            partners = once(lambda: self._associate(features, labels, translated))
            ids = np.where(labels["infrared"] == OUTLIER, OUTLIER, partners[labels["infrared"]])
            associated = PseudoLabels(ids, pseudo["visible"].num_clusters)
            sets.append(
                LabelSet(
                    "infrared_associated",
                    "infrared",
                    associated,
                    identities_of="visible",
                    shared_with="visible",
                )
            )
            contrast = parts.AlternateContrast(
                sources,
                self.memory,
                first=epoch == 0,
                anchor="infrared",
                partners=partners,
                weight=self.taa.associated_weight,
            )
        yield Stage(name, labels, self.batch.iters, {"contrast": contrast}, sets)

    def _associate(
        self, features: Features, labels: dict[str, np.ndarray], translated: Features
    ) -> np.ndarray:
        """Visible identity of each infrared cluster, int64 (C,), -1 for none."""
        identities = memory.centroids(translated["visible"]["deep"], labels["visible"])
        return association.associate_with_identities(
            features["infrared"]["deep"], labels["infrared"], identities
        )

    def steps_per_epoch(self) -> int:
        """See `Method.steps_per_epoch`."""
        return self.batch.iters
