"""BMIL: Modality-Aware Bias Mitigation and Invariance Learning for Unsupervised Visible-Infrared Person
Re-Identification.

Wang, Gong, Li, Ji. AAAI 2026. https://arxiv.org/abs/2512.07760
Contributions, and the calls that implement them:

    bias-mitigated global association    `cluster_jointly`: both modalities clustered together under the
                                         modality-aware distance; stage 2
    modality-invariant learning          `SplitContrast`: clusters split into a prototype per modality,
                                         several positives; stage 2
    hybrid memories, margin              `HybridContrast`: mean and hard rows of each cluster; both stages

Per epoch: extract -> halve the visible images at random -> pseudo-labels of one half and of the infrared
images -> memories -> (stage 2) common clusters of the other half and the infrared images -> steps. In stage 2
the steps of the modalities and of the common clusters alternate. Stage 2 begins with a new optimiser and
learning rate, and with the weights of stage 1's last epoch; the released code takes those of the best test
result. Colour jitter, of the channel-exchanged view and, on SYSU-MM01, of infrared images in the first stage,
as released, comes before crop and flip here and after them there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from sdcl import memory
from sdcl.clustering.labels import LabelSet
from sdcl.config.fields import AT_LEAST_0, Bounds, setting
from sdcl.datasets import MODALITIES
from sdcl.methods import parts
from sdcl.methods.interface import (
    Extract,
    Features,
    Indexes,
    Once,
    Stage,
    label_sets,
    require_clusters,
)
from sdcl.methods.recipes import RESNET, RESNET_REGDB

if TYPE_CHECKING:
    from torch import nn

    from sdcl.config import Settings

_JOINT = {"joint": True}
HALVES = 17  # last word of the seed of an epoch's halves


@dataclass(frozen=True)
class BMILSettings:
    """Settings of BMIL's second stage, of its halves and of its margin."""

    joint: bool = setting(True, "cluster both modalities together; off: the first stage goes on to the end")
    joint_from: int = setting(
        50,
        "first epoch of the second stage (common clusters), which starts with a new optimiser",
        bounds=AT_LEAST_0,
        first_epoch=True,
        needs=_JOINT,
    )
    visible_halves: bool = setting(
        True,
        "each epoch a random half of the visible images is clustered alone, the other half with the infrared "
        "ones",
    )
    margin: float = setting(0.2, "margin of the contrast with the mean rows", bounds=AT_LEAST_0)
    selected_prototypes: int = setting(
        50,
        "prototypes, positives among them, in the softmax of the common clusters",
        bounds=Bounds(2),
        needs=_JOINT,
    )


class BMIL:
    """One stage per epoch: "hybrid", with which "joint" alternates in the second half of the run."""

    title = "Modality-Aware Bias Mitigation and Invariance Learning"
    paper = "https://arxiv.org/abs/2512.07760"
    SETTINGS = BMILSettings
    RECIPES: ClassVar[dict[str, dict[str, Any]]] = {
        "sysu": {
            **RESNET,
            "arch": "resnet50_nl",
            "bn_replicas": 2,
            "batch_size": 128,
            "epochs": 100,
            "color_jitter": 0.5,
            "jitter_views": "first-stage",
        },
        "regdb": {
            **RESNET_REGDB,
            "arch": "resnet50_nl",
            "bn_replicas": 2,
            "batch_size": 128,
            "batch_size_visible": 64,
            "epochs": 100,
            "color_jitter": 0.5,
            "jitter_views": "exchanged",
            "visible_halves": False,
        },
    }
    released_line: ClassVar[dict[str, dict[str, Any]]] = {"regdb": {"eps": 0.6}}
    branches = ("deep",)
    agw = "resnet50_nl"
    unread = frozenset({"use_hard"})  # its memories hold a mean and a hard row always
    unit_views = True

    def __init__(self, settings: Settings, cameras: Indexes | None = None):
        self.bmil: BMILSettings = settings.method
        self.seed = settings.run.seed
        self.cluster, self.memory, self.batch = settings.cluster, settings.memory, settings.batch
        self.restarts = (self.bmil.joint_from,) if self.bmil.joint else ()

    def stages(self, epoch: int, extract: Extract, once: Once) -> Iterator[Stage]:
        """See `Method.stages`."""
        features = extract()
        sizes = {m: len(features[m]["deep"]) for m in MODALITIES}
        alone, together = self.halves(epoch, sizes["visible"])
        rows = {"visible": alone, "infrared": np.arange(sizes["infrared"])}
        found = once(
            lambda: {
                m: parts.cluster(features[m]["deep"][rows[m]], self.cluster, normalize=False) for m in rows
            }
        )
        require_clusters(found, self.cluster.eps, epoch)
        pseudo = {m: parts.scatter(found[m], rows[m], sizes[m]) for m in rows}
        labels = {m: y.ids for m, y in pseudo.items()}
        contrast = parts.HybridContrast(
            {m: (features[m], labels[m]) for m in labels}, self.memory, self.bmil.margin, first=epoch == 0
        )
        joint = None
        if self.bmil.joint and epoch >= self.bmil.joint_from:
            joint = self._joint(epoch, features, together, once)
        shown = [LabelSet(m, m, pseudo[m], rows[m]) for m in MODALITIES]
        yield Stage("hybrid", labels, self.batch.iters, {"hybrid": contrast}, shown, alternate=joint)

    def halves(self, epoch: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Visible images that are clustered alone, and those clustered with the infrared ones, in the order
        in which they are clustered.

        Of an odd number of images one is in neither half.
        """
        if not self.bmil.visible_halves:
            return np.arange(count), np.arange(count)
        order = np.random.default_rng((self.seed, epoch, HALVES)).permutation(count)
        return order[: count // 2], order[count // 2 : 2 * (count // 2)]

    def _joint(self, epoch: int, features: Features, visible: np.ndarray, once: Once) -> Stage:
        """Steps on common clusters of the visible images `visible` and all infrared images."""
        sizes = {m: len(features[m]["deep"]) for m in MODALITIES}
        chosen = {
            m: {b: f[visible] if m == "visible" else f for b, f in features[m].items()} for m in MODALITIES
        }
        pseudo = parts.cluster_jointly({m: chosen[m]["deep"] for m in MODALITIES}, self.cluster, once, epoch)
        ids = {m: y.ids for m, y in pseudo.items()}
        source, common = parts.joint_source(chosen, ids)
        split = {
            b: memory.split_prototypes(f, common, np.repeat([0, 1], [len(y) for y in ids.values()]))
            for b, f in source.items()
        }
        prototypes, selected = len(split["deep"].clusters), self.bmil.selected_prototypes
        few = (
            f"fewer prototypes than --selected-prototypes {selected}: all are taken; the released code stops "
            "here"
        )
        pseudo["visible"] = parts.scatter(pseudo["visible"], visible, sizes["visible"])
        labels = {m: y.ids for m, y in pseudo.items()}
        return Stage(
            "joint",
            labels,
            self.batch.iters,
            {"joint": self.split_contrast(split)},
            label_sets(pseudo, "_joint", common=True, rows={"visible": visible}),
            notes=(few,) if prototypes < selected else (),
        )

    def split_contrast(self, prototypes: dict[str, Any]) -> nn.Module:
        """The objective of the common clusters."""
        return parts.SplitContrast(prototypes, self.memory, self.bmil.selected_prototypes, first=False)

    def steps_per_epoch(self) -> int:
        """See `Method.steps_per_epoch`."""
        return (2 if self.bmil.joint else 1) * self.batch.iters
