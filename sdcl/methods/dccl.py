"""DCCL: Dual Consistency-Constrained Learning for Unsupervised Visible-Infrared Person Re-Identification.

Bin Yang, Jun Chen, Cuiqun Chen, Mang Ye. IEEE TIFS 2024. https://doi.org/10.1109/TIFS.2023.3341392
DCCL, our reading of its abstract and of unused code in the released SDCL program; no published
number to compare with. docs/methods/dccl.md says what is taken from where. What the abstract names,
and the calls that implement it:

    instance memory, identity memory          `InstanceMemory`; `ClusterContrast` and, in each camera, the
                                              proxies of `split_prototypes`
    feature interaction learning              `DualConsistency`: neighbours that agree by instance and by
                                              `identity_descriptions`; stage 2
    camera contrast                           `CameraContrast`; stage 2
    label refinement                          `refine_labels`, from --refine-from on

Per epoch: extract -> pseudo-labels of each modality -> (refinement) visible images take infrared labels ->
memories, proxies -> steps. Stage 1 is that of ADCA; stage 2 begins with a new optimiser and learning rate.
Symbols: N images, K clusters, P proxies, D dimensions; M cluster memory, W instance memory, g description.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from sdcl import association, memory
from sdcl.clustering.labels import LabelSet, PseudoLabels
from sdcl.config.fields import AT_LEAST_0, AT_LEAST_1, POSITIVE, SHARE, setting
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
    require_links,
    shorter_list,
)
from sdcl.methods.recipes import RESNET, RESNET_REGDB
from sdcl.runtime.errors import SettingError

if TYPE_CHECKING:
    from torch import nn

    from sdcl.config import Settings


_CAMERA, _REFINEMENT = {"camera": True}, {"refinement": True}
_NEIGHBORS = {"homogeneous": True, "heterogeneous": True}


@dataclass(frozen=True)
class DCCLSettings:
    """Settings of DCCL's second stage and of its label refinement."""

    interact_from: int = setting(
        50,
        "first epoch of the second stage (feature interaction), which starts with a new optimiser",
        bounds=AT_LEAST_0,
        first_epoch=True,
    )
    camera: bool = setting(
        True,
        "camera proxies in the identity memory, and their contrast; off: identities are the cluster memories",
    )
    homogeneous: bool = setting(True, "neighbour losses within each modality, in the second stage")
    heterogeneous: bool = setting(
        True, "neighbour losses across the modalities, in the second stage, one direction an epoch"
    )
    instance: bool = setting(True, "contrast of each image with all rows of its instance memory, in stage 2")
    refinement: bool = setting(True, "label refinement: infrared labels for visible images")
    refine_from: int = setting(
        80, "first epoch of the label refinement", bounds=AT_LEAST_0, first_epoch=True, needs=_REFINEMENT
    )
    refine_k: int = setting(
        20, "nearest infrared images whose labels are counted", bounds=AT_LEAST_1, needs=_REFINEMENT
    )
    refine_clusters: int = setting(
        5, "nearest infrared clusters that may be counted", bounds=AT_LEAST_1, needs=_REFINEMENT
    )
    identity_temp: float = setting(
        0.05,
        "temperature of the softmaxes that describe an image by identities",
        bounds=POSITIVE,
        needs_any=_NEIGHBORS,
    )
    consistency_threshold: float = setting(
        0.8,
        "a neighbour is above this share of the largest similarity, by instance and by identity",
        bounds=SHARE,
        needs_any=_NEIGHBORS,
    )
    consistency_momentum: float = setting(
        0.1,
        "weight of the old row in the update of DCCL's instance memories",
        bounds=SHARE,
        needs_any={**_NEIGHBORS, "instance": True},
    )
    camera_weight: float = setting(0.1, "weight of the contrast with camera proxies", needs=_CAMERA)
    camera_temp: float = setting(
        0.07, "temperature of the contrast with camera proxies", bounds=POSITIVE, needs=_CAMERA
    )
    camera_negatives: int = setting(
        50,
        "most similar proxies of other clusters in the contrast with camera proxies",
        bounds=AT_LEAST_1,
        needs=_CAMERA,
    )


class DCCL:
    """One stage per epoch: "contrast", then "interaction", then "refined"."""

    title = "Dual Consistency-Constrained Learning"
    paper = "https://doi.org/10.1109/TIFS.2023.3341392"
    status = (
        "DCCL, our reading of its abstract and of unused code in the released SDCL program; no "
        "published number to compare with"
    )
    SETTINGS = DCCLSettings
    RECIPES: ClassVar[dict[str, dict[str, Any]]] = {
        "sysu": {**RESNET, "batch_size": 128, "epochs": 100},
        "regdb": {
            **RESNET_REGDB,
            "batch_size": 128,
            "epochs": 100,
            "camera": False,
            "refine_from": 70,
            "refine_k": 10,
        },
        "custom": {**RESNET, "batch_size": 128, "epochs": 100, "camera": False},
    }
    branches = ("deep",)
    agw = "resnet50"
    labels = ("none", "infrared")  # the refinement would replace the identities of visible images
    unit_views = True

    def __init__(self, settings: Settings, cameras: Indexes, identities: Indexes | None = None):
        self.identities = identities
        self.dccl: DCCLSettings = settings.method
        self.cluster, self.memory, self.batch = settings.cluster, settings.memory, settings.batch
        visible, infrared = (cameras[m] for m in MODALITIES)
        # a camera of one modality is none of the other
        self.cameras = {"visible": visible, "infrared": infrared + visible.max() + 1}
        self.restarts = (self.dccl.interact_from,)
        if self.dccl.camera and all(len(np.unique(cameras[m])) < 2 for m in MODALITIES):
            raise SettingError(
                f"camera contrast without cameras: the {' and the '.join(MODALITIES)} training images of "
                f"{settings.data.dataset} are of one camera each; train with --no-camera, or give the images "
                "their cameras"
            )

    def stages(self, epoch: int, extract: Extract, once: Once) -> Iterator[Stage]:
        """See `Method.stages`."""
        features = extract()
        pseudo = parts.cluster_each(features, self.cluster, once, epoch, self.identities)
        labels, sets = {m: y.ids for m, y in pseudo.items()}, label_sets(pseudo)
        sources: Any = {m: (features[m], labels[m]) for m in MODALITIES}
        second = epoch >= self.dccl.interact_from
        refined = second and self.dccl.refinement and epoch >= self.dccl.refine_from
        if refined:
            linked = once(lambda: self._refine(features, pseudo["infrared"]))
            require_links(linked, shorter_list(f"--refine-k {self.dccl.refine_k}", "--refine-from"), epoch)
            labels["visible"] = linked.ids
            sets.append(LabelSet("visible_associated", "visible", linked, shared_with="infrared"))
            sources = parts.joint_source(features, labels)  # one shared memory
        contrast = parts.ClusterContrast(sources, self.memory, first=epoch == 0)
        objectives: dict[str, nn.Module] = {"contrast": contrast}
        if second:
            objectives |= self.interaction(epoch, features, labels, refined)
        name = "refined" if refined else "interaction" if second else "contrast"
        yield Stage(name, labels, self.batch.iters, objectives, sets)

    def _refine(self, features: Features, infrared: PseudoLabels) -> PseudoLabels:
        """Infrared labels for the visible images, from both memories at the epoch's beginning."""
        visible, keys = (features[m]["deep"] for m in MODALITIES)
        clusters = memory.centroids(keys, infrared.ids)
        ids = association.refine_labels(
            visible, keys, infrared.ids, clusters, self.dccl.refine_k, self.dccl.refine_clusters
        )
        return PseudoLabels(ids, infrared.num_clusters)

    def interaction(
        self, epoch: int, features: Features, labels: dict[str, np.ndarray], refined: bool
    ) -> dict[str, nn.Module]:
        """The objectives that stage 2 adds: N_vv + N_rr + (even epochs N_vr, odd N_rv) + ins_v + ins_r, and
        .1 (cam_v + cam_r).
        """
        identities = self.identity_memory(features, labels, refined)
        pairs = INTRA if self.dccl.homogeneous else ()
        described = {pair: identities[pair[0]] for pair in pairs}
        if self.dccl.heterogeneous:
            described[CROSS[epoch % 2]] = identities["both"]
        objectives: dict[str, nn.Module] = {}
        if described or self.dccl.instance:
            objectives["consistency"] = parts.DualConsistency(
                features,
                described,
                instance=self.dccl.instance,
                threshold=self.dccl.consistency_threshold,
                temp=self.memory.temp,
                identity_temp=self.dccl.identity_temp,
                momentum=self.dccl.consistency_momentum,
                late_gradients=self.memory.late_gradients,
            )
        if self.dccl.camera:
            objectives["cameras"] = parts.CameraContrast(
                {m: identities[m] for m in MODALITIES},
                self.cameras,
                weight=self.dccl.camera_weight,
                temperature=self.dccl.camera_temp,
                negatives=self.dccl.camera_negatives,
            )
        return objectives

    def identity_memory(
        self, features: Features, labels: dict[str, np.ndarray], refined: bool
    ) -> dict[str, memory.Prototypes]:
        """Proxies, whose parts are cameras, of each modality and of "both".

        Without cameras they are the rows of the cluster memories as the epoch begins: each modality counts
        as one camera, and after refinement, when the memory is shared, both as one.
        """
        cameras = self.cameras
        if not self.dccl.camera:
            cameras = {m: np.full(len(c), i * (not refined)) for i, (m, c) in enumerate(cameras.items())}
        images, ids = parts.joint_source(features, labels)
        both = memory.split_prototypes(images["deep"], ids, np.concatenate([*cameras.values()]))
        if refined and not self.dccl.camera:
            return dict.fromkeys((*MODALITIES, "both"), both)
        alone = {m: memory.split_prototypes(features[m]["deep"], labels[m], cameras[m]) for m in MODALITIES}
        return {**alone, "both": both}

    def steps_per_epoch(self) -> int:
        """See `Method.steps_per_epoch`."""
        return self.batch.iters
