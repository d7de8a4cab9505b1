"""Baseline: cluster contrast within each modality, nothing across: the reference row of every table.

Zuozhuo Dai, Guangyuan Wang, Weihao Yuan, Siyu Zhu, Ping Tan. Cluster Contrast for Unsupervised Person
Re-Identification. ACCV 2022. https://arxiv.org/abs/2103.11568
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from sdcl.methods import parts
from sdcl.methods.interface import Extract, Indexes, Once, Stage, label_sets
from sdcl.methods.recipes import RESNET, RESNET_REGDB

if TYPE_CHECKING:
    from sdcl.config import Settings


@dataclass(frozen=True)
class BaselineSettings:
    """No settings of its own."""


class Baseline:
    """One stage per epoch: "contrast"."""

    title = "Cluster contrast within each modality"
    paper = "https://arxiv.org/abs/2103.11568"
    SETTINGS = BaselineSettings
    # Nobody released these: they are ADCA's first stage without its second view.
    RECIPES: ClassVar[dict[str, dict[str, Any]]] = {
        "sysu": {**RESNET, "second_view": False},
        "regdb": {**RESNET_REGDB, "second_view": False},
    }
    branches = ("deep",)
    agw = "resnet50"
    unread = frozenset({"late_gradients"})  # each of its memories serves one term of a step
    labels = ("none", "visible", "infrared")
    unit_views = True
    restarts: tuple[int, ...] = ()

    def __init__(self, settings: Settings, cameras: Indexes | None = None, identities: Indexes | None = None):
        self.identities = identities
        self.cluster, self.memory, self.batch = settings.cluster, settings.memory, settings.batch

    def stages(self, epoch: int, extract: Extract, once: Once) -> Iterator[Stage]:
        """See `Method.stages`."""
        features = extract()
        pseudo = parts.cluster_each(features, self.cluster, once, epoch, self.identities)
        labels = {m: y.ids for m, y in pseudo.items()}
        sources = {m: (features[m], labels[m]) for m in labels}
        contrast = parts.ClusterContrast(sources, self.memory, first=epoch == 0)
        yield Stage("contrast", labels, self.batch.iters, {"contrast": contrast}, label_sets(pseudo))

    def steps_per_epoch(self) -> int:
        """See `Method.steps_per_epoch`."""
        return self.batch.iters
