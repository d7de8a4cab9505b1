"""SDCL: Shallow-Deep Collaborative Learning for Unsupervised Visible-Infrared Person Re-Identification.

Bin Yang, Jun Chen, Mang Ye. CVPR 2024.
https://openaccess.thecvf.com/content/CVPR2024/papers/Yang_Shallow-Deep_Collaborative_Learning_for_Unsupervised_Visible-Infrared_Person_Re-Identification_CVPR_2024_paper.pdf
Released code: https://github.com/yangbincv/SDCL. Contributions, and the calls that implement them:

    shallow-deep features                     the model's two branches; each has its memories and losses
    collaborative neighbour learning (CNL)    `NeighborLearning`: `agreeing_neighbors`, `neighbor_contrast`;
                                              from the first epochs
    collaborative ranking association (CRA)   `collaborative_ranking`, `majority_of_neighbors`; stage 2, from
                                              epoch S (--unify-from)

Per epoch: extract -> pseudo-labels of each modality -> (epoch >= S) visible images take infrared labels
-> memories -> steps. With --joint, which nobody has published, both modalities are clustered together from
epoch S on, as in BMIL. Symbols: N images, K clusters, D dimensions; M cluster memory, W instance memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from sdcl import association
from sdcl.clustering.labels import OUTLIER, LabelSet, PseudoLabels
from sdcl.config.fields import AT_LEAST_0, AT_LEAST_1, SHARE, VITS, OneOf, setting
from sdcl.datasets import MODALITIES
from sdcl.methods import parts
from sdcl.methods.interface import (
    CROSS,
    INTRA,
    Extract,
    Features,
    Indexes,
    Once,
    Stage,
    label_sets,
    require_clusters,
    require_links,
    shorter_list,
)

if TYPE_CHECKING:
    from torch import nn

    from sdcl.config import Settings


_CNL, _CRA = {"cnl": True}, {"cra": True}
_VOTES = {**_CRA, "joint": False}
_INTRA, _CROSS = {**_CNL, "cnl_intra": True}, {**_CNL, "cnl_cross": True}


@dataclass(frozen=True)
class SDCLSettings:
    """Settings of SDCL's associations and neighbour losses."""

    cra: bool = setting(True, "collaborative ranking association; off: the first stage goes on to the end")
    unify_from: int = setting(
        30, "first epoch of the unified stage (CRA)", bounds=AT_LEAST_0, first_epoch=True, needs=_CRA
    )
    iters_unified: int = setting(
        100, "training steps an epoch in the unified stage", bounds=AT_LEAST_1, needs=_CRA
    )
    joint: bool = setting(
        False,
        "from the unified stage on, cluster both modalities together under the modality-aware distance, in "
        "the place of the association; not published",
        needs={**_CRA, "labels": "none"},
    )
    k1_visible_unified: int = setting(
        30,
        "length of visible images' rank lists in the unified stage",
        bounds=AT_LEAST_1,
        needs={**_VOTES, "labels": OneOf(("none", "infrared"))},
    )
    cra_k: int = setting(20, "length of CRA's rank lists", bounds=AT_LEAST_1, needs=_VOTES)
    smoothing: bool = setting(True, "vote of the nearest visible images after CRA", needs=_VOTES)
    smoothing_k: int = setting(
        5,
        "voters of the smoothing after CRA, the image itself included",
        bounds=AT_LEAST_1,
        needs={**_VOTES, "smoothing": True},
    )
    shared_memory_all: bool = setting(
        True,
        "as released: visible outliers with a CRA label count in the shared centroids although they are not "
        "trained",
        needs=_VOTES,
    )
    cnl: bool = setting(True, "collaborative neighbour learning as a whole")
    cnl_intra: bool = setting(True, "neighbour learning within each modality", needs=_CNL)
    cnl_cross: bool = setting(True, "neighbour learning across the modalities", needs=_CNL)
    intra_from: int = setting(
        0,
        "first epoch of neighbour learning within a modality",
        bounds=AT_LEAST_0,
        first_epoch=True,
        needs=_CNL,
    )
    cross_from: int = setting(
        10,
        "first epoch of neighbour learning across the modalities; not before --intra-from",
        bounds=AT_LEAST_0,
        first_epoch=True,
        needs=_CROSS,
    )
    cnl_threshold: float = setting(
        0.9, "a neighbour is above this share of the anchor's largest similarity", bounds=SHARE, needs=_CNL
    )
    cnl_shallow_weight: float = setting(
        0.5,
        "weight of the shallow neighbour losses, the deep ones have 1",
        arch=VITS,
        needs={**_CNL, "shallow": True},
    )
    cnl_intra_weight: float = setting(
        1.0, "weight of neighbour learning within a modality before the unified stage", needs=_INTRA
    )
    cnl_cross_weight: float = setting(
        0.5, "weight of neighbour learning across modalities before the unified stage", needs=_CROSS
    )
    cnl_intra_weight_unified: float = setting(
        0.1, "weight of neighbour learning within a modality in the unified stage", needs={**_INTRA, **_CRA}
    )
    cnl_cross_weight_unified: float = setting(
        0.1, "weight of neighbour learning across modalities in the unified stage", needs={**_CROSS, **_CRA}
    )
    visible_to_infrared_factor: float = setting(
        0.1,
        "as released: further factor of the visible-to-infrared neighbour loss; clean form: 1",
        needs=_CROSS,
    )
    instance_momentum: float = setting(
        0.9, "weight of the old row in the update of an instance memory", bounds=SHARE, needs=_CNL
    )
    raw_instance_update: bool = setting(
        True,
        "as released: features enter the instance memory without normalisation; "
        "--no-raw-instance-update: the clean form",
        needs=_CNL,
    )


class SDCL:
    """Both stages of SDCL, one stage per epoch: "contrast", then "unified"."""

    title = "Shallow-Deep Collaborative Learning"
    paper = (
        "https://openaccess.thecvf.com/content/CVPR2024/papers/Yang_Shallow-Deep_Collaborative_Learning_for_"
        "Unsupervised_Visible-Infrared_Person_Re-Identification_CVPR_2024_paper.pdf"
    )
    SETTINGS = SDCLSettings
    RECIPES: ClassVar[dict[str, dict[str, Any]]] = {
        "sysu": {"k1_visible_unified": 15},
        "regdb": {
            "epochs": 30,
            "unify_from": 20,
            "iters": 50,
            "iters_unified": 50,
            "eps": 0.3,
            "momentum_first": 0.99,
            "intra_from": 1,
            "cra_k": 10,
        },
    }
    released_line: ClassVar[dict[str, dict[str, Any]]] = {
        "sysu": {"arch": "agw", "batch_size": 256},
        "regdb": {"arch": "agw", "batch_size": 256, "eps": 0.6, "momentum": 0.99},
    }
    branches = ("deep", "shallow")
    agw = "resnet50_ibn"
    labels = ("none", "visible", "infrared")
    unit_views = False
    restarts: tuple[int, ...] = ()

    def __init__(self, settings: Settings, cameras: Indexes | None = None, identities: Indexes | None = None):
        self.identities = identities
        self.sdcl: SDCLSettings = settings.method
        self.cluster, self.memory, self.batch = settings.cluster, settings.memory, settings.batch

    def unified(self, epoch: int) -> bool:
        """Whether visible images train with infrared labels in this epoch."""
        return self.sdcl.cra and epoch >= self.sdcl.unify_from

    def stages(self, epoch: int, extract: Extract, once: Once) -> Iterator[Stage]:
        """See `Method.stages`."""
        unified = self.unified(epoch)
        features = extract()
        joint = unified and self.sdcl.joint and not self.identities
        pseudo = (self._cluster_jointly if joint else self._cluster_each)(features, once, epoch)
        labels, sets = {m: pseudo[m].ids for m in MODALITIES}, label_sets(pseudo, common=joint)
        sources: Any = {m: (features[m], labels[m]) for m in MODALITIES}
        if joint:
            sources = parts.joint_source(features, labels)
        elif unified:
            associated = once(lambda: self._associate(features, pseudo["infrared"]))
            sets.append(LabelSet("visible_associated", "visible", associated, shared_with="infrared"))
            require_links(associated, shorter_list(f"--cra-k {self.sdcl.cra_k}", "--unify-from"), epoch)
            labels["visible"] = np.where(pseudo["visible"].ids == OUTLIER, OUTLIER, associated.ids)
            averaged = {**labels, "visible": associated.ids} if self.sdcl.shared_memory_all else labels
            sources = parts.joint_source(features, averaged)
        objectives: dict[str, nn.Module] = {}
        if pairs := neighbor_pairs(self.sdcl, epoch, unified):
            objectives["neighbors"] = self._neighbor_learning(features, pairs)
        first = epoch == 0 and not unified
        objectives["contrast"] = parts.ClusterContrast(sources, self.memory, first=first)
        iterations = self.sdcl.iters_unified if unified else self.batch.iters
        yield Stage("unified" if unified else "contrast", labels, iterations, objectives, sets)

    def _cluster_jointly(self, features: Features, once: Once, epoch: int) -> dict[str, PseudoLabels]:
        """One label space for both modalities (--joint), by the features that `_cluster` compares."""
        joined = {m: parts.side_by_side(features[m]) for m in MODALITIES}
        return parts.cluster_jointly(joined, self.cluster, once, epoch, normalize=True)

    def _cluster_each(self, features: Features, once: Once, epoch: int) -> dict[str, PseudoLabels]:
        pseudo = once(lambda: parts.label_each(lambda m: self._cluster(features, m, epoch), self.identities))
        require_clusters(pseudo, self.cluster.eps, epoch)
        return pseudo

    def _cluster(self, features: Features, modality: str, epoch: int) -> PseudoLabels:
        """Pseudo-labels of a modality: raw features of both branches, (N, 2 D), normalised as a whole."""
        visible_unified = modality == "visible" and self.unified(epoch)
        k1 = self.sdcl.k1_visible_unified if visible_unified else self.cluster.k1
        return parts.cluster(parts.side_by_side(features[modality]), self.cluster, normalize=True, k1=k1)

    def _associate(self, features: Features, infrared: PseudoLabels) -> PseudoLabels:
        """CRA: infrared labels for the visible images, smoothed among the visible images."""
        ids = association.collaborative_ranking(
            features["visible"], features["infrared"], infrared.ids, self.sdcl.cra_k
        )
        if self.sdcl.smoothing:
            ids = association.majority_of_neighbors(ids, features["visible"], self.sdcl.smoothing_k)
        return PseudoLabels(ids, infrared.num_clusters)

    def _neighbor_learning(self, features: Features, pairs: dict[tuple[str, str], float]) -> nn.Module:
        """CNL's instance memories W over all N images of each modality, and its losses."""
        return parts.NeighborLearning(
            features,
            pairs,
            {"deep": 1.0, "shallow": self.sdcl.cnl_shallow_weight},
            threshold=self.sdcl.cnl_threshold,
            temp=self.memory.temp,
            momentum=self.sdcl.instance_momentum,
            raw_update=self.sdcl.raw_instance_update,
            late_gradients=self.memory.late_gradients,
        )

    def steps_per_epoch(self) -> int:
        """See `Method.steps_per_epoch`."""
        return self.batch.iters


def neighbor_pairs(settings: SDCLSettings, epoch: int, unified: bool) -> dict[tuple[str, str], float]:
    """CNL's (anchor modality, neighbour modality) pairs of an epoch, with their weights.

    Across the modalities one direction an epoch: in even epochs visible to infrared, with the further factor
    of the released code.
    """
    pairs: dict[tuple[str, str], float] = {}
    if settings.cnl and settings.cnl_intra and epoch >= settings.intra_from:
        weight = settings.cnl_intra_weight_unified if unified else settings.cnl_intra_weight
        pairs |= dict.fromkeys(INTRA, weight)
    if settings.cnl and settings.cnl_cross and epoch >= max(settings.intra_from, settings.cross_from):
        weight = settings.cnl_cross_weight_unified if unified else settings.cnl_cross_weight
        direction = CROSS[epoch % 2]
        pairs[direction] = weight * (settings.visible_to_infrared_factor if direction == CROSS[0] else 1.0)
    return pairs
