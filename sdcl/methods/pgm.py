"""PGM: Unsupervised Visible-Infrared Person ReID via Progressive Graph Matching and Alternate Learning.

Zesen Wu, Mang Ye. CVPR 2023.
Released code: https://github.com/zesenwu23/USL-VI-ReID. Contributions, and the calls that implement them:

    progressive graph matching (PGM)              `match_clusters`: Hungarian, left-over clusters once more;
                                                  stage 2
    alternate cross contrastive learning (ACCL)   `AlternateContrast`: visible images with infrared memory in
                                                  even epochs of stage 2, infrared images with visible memory
                                                  in odd ones

Per epoch: extract -> pseudo-labels of each modality -> memories -> (stage 2) partners of the clusters ->
steps. Stage 2 begins with a new optimiser and learning rate, and with the weights of stage 1's last epoch;
the released code takes those of the best test result. Colour jitter is that of the run whose log was
released, of the channel-exchanged view alone; it comes before crop and flip here and after them there. Since
June 2024 the script for SYSU-MM01 jitters infrared images too in its first stage (--jitter-views
first-stage).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from sdcl import association
from sdcl.config.fields import AT_LEAST_0, setting
from sdcl.datasets import MODALITIES
from sdcl.methods import parts
from sdcl.methods.interface import Extract, Indexes, Once, Stage, label_sets
from sdcl.methods.recipes import RESNET, RESNET_REGDB

if TYPE_CHECKING:
    from torch import nn

    from sdcl.config import Settings

_MATCHING = {"matching": True}
JITTER = {"color_jitter": 0.5, "jitter_views": "exchanged"}


@dataclass(frozen=True)
class PGMSettings:
    """Settings of PGM's second stage."""

    matching: bool = setting(
        True, "match the clusters of the modalities; off: the first stage goes on to the end"
    )
    match_from: int = setting(
        50,
        "first epoch of the second stage (cluster matching), which starts with a new optimiser",
        bounds=AT_LEAST_0,
        first_epoch=True,
        needs=_MATCHING,
    )
    cross_weight: float = setting(
        0.25, "weight of the contrast with the other modality's memory", needs=_MATCHING
    )


class PGM:
    """One stage per epoch: "contrast", then "matched"."""

    title = "Progressive Graph Matching and Alternate Learning"
    paper = "https://github.com/zesenwu23/USL-VI-ReID"  # the address of the paper itself is not known here
    SETTINGS = PGMSettings
    RECIPES: ClassVar[dict[str, dict[str, Any]]] = {
        "sysu": {**RESNET, "arch": "resnet50_nl", "epochs": 100, "momentum": 0.2, **JITTER},
        "regdb": {
            **RESNET_REGDB,
            "arch": "resnet50_nl",
            "epochs": 60,
            "step_size": 10,
            "momentum": 0.2,
            "match_from": 30,
            **JITTER,
        },
    }
    released_line: ClassVar[dict[str, dict[str, Any]]] = {"regdb": {"eps": 0.6}}
    branches = ("deep",)
    agw = "resnet50_nl"
    labels = ("none", "visible", "infrared")
    unit_views = True

    def __init__(self, settings: Settings, cameras: Indexes | None = None, identities: Indexes | None = None):
        self.identities = identities
        self.pgm: PGMSettings = settings.method
        self.cluster, self.memory, self.batch = settings.cluster, settings.memory, settings.batch
        self.restarts = (self.pgm.match_from,) if self.pgm.matching else ()

    def stages(self, epoch: int, extract: Extract, once: Once) -> Iterator[Stage]:
        """See `Method.stages`."""
        features = extract()
        pseudo = parts.cluster_each(features, self.cluster, once, epoch, self.identities)
        labels = {m: y.ids for m, y in pseudo.items()}
        sources = {m: (features[m], labels[m]) for m in labels}
        matched = self.pgm.matching and epoch >= self.pgm.match_from
        clusters = parts.ClusterContrast(sources, self.memory, first=epoch == 0)
        contrast: nn.Module = clusters
        if matched:
            centroids = {m: clusters.memory(m)() for m in MODALITIES}
            matching = once(lambda: list(association.match_clusters(*(centroids[m] for m in MODALITIES))))
            contrast = self.alternate_contrast(epoch, sources, matching)
        yield Stage(
            "matched" if matched else "contrast",
            labels,
            self.batch.iters,
            {"contrast": contrast},
            label_sets(pseudo),
        )

    def alternate_contrast(
        self, epoch: int, sources: dict[str, Any], partners: list[np.ndarray]
    ) -> nn.Module:
        """The objective of an epoch of stage 2.

        Args:
            partners: infrared cluster of each visible cluster, and the reverse; -1 for none.
        """
        side = (epoch - self.pgm.match_from) % 2
        return parts.AlternateContrast(
            sources,
            self.memory,
            first=epoch == 0,
            anchor=MODALITIES[side],
            partners=partners[side],
            weight=self.pgm.cross_weight,
        )

    def steps_per_epoch(self) -> int:
        """See `Method.steps_per_epoch`."""
        return self.batch.iters
