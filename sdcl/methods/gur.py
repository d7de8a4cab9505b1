"""GUR: Towards Grand Unified Representation Learning for Unsupervised Visible-Infrared Person
Re-Identification.

Bin Yang, Jun Chen, Mang Ye. ICCV 2023.
https://doi.org/10.1109/ICCV51070.2023.01016
Released code: https://github.com/yangbincv/GUR. Contributions, and the calls that implement them:

    bottom-up domain learning                  `_cameras`, then `_modalities`, then `_both`: three kinds of
                                               stages in every epoch
    cross-memory association embedding (CAE)   `association_embedding`, before the last two clusterings
    cross-modality label unification (CMLU)    `propagate_labels`, `majority_of_neighbors`; --propagate-from

Per epoch: every pair of a visible and an infrared camera is clustered and trained by itself; then each
modality, described by its similarity to the memories of the camera stages; then both modalities together,
described by their similarity to the memories of the modality stage. RegDB's recipe leaves the first kind
out. Symbols: N images, C clusters, D dimensions; M cluster memory.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import numpy as np

from sdcl import association
from sdcl.clustering.labels import LabelSet, PseudoLabels
from sdcl.config.fields import AT_LEAST_0, AT_LEAST_1, INSIDE_UNIT, POSITIVE, setting
from sdcl.datasets import MODALITIES
from sdcl.methods import parts
from sdcl.methods.interface import (
    Extract,
    Features,
    Indexes,
    NoClusters,
    Once,
    Stage,
    label_sets,
    require_clusters,
    require_links,
    shorter_list,
)
from sdcl.methods.recipes import RESNET, RESNET_REGDB

if TYPE_CHECKING:
    from torch import Tensor

    from sdcl.config import Settings

Memories: TypeAlias = (
    "dict[str, list[Tensor]]"  # modality -> (C, D) prototypes of each memory, as its last stage left them
)

_CAMERAS, _CAE = {"intra_camera": True}, {"cae": True}
_BOTH, _CMLU = {"inter_modality": True}, {"propagation": True}
_LINKS = {**_CMLU, "joint": False}


@dataclass(frozen=True)
class GURSettings:
    """Settings of GUR's three kinds of stages and its label unification."""

    intra_camera: bool = setting(True, "stages of single pairs of cameras; off in RegDB's recipe")
    camera_eps: float = setting(0.55, "DBSCAN radius within one camera", bounds=INSIDE_UNIT, needs=_CAMERAS)
    camera_iters: int = setting(
        50, "training steps of each pair of cameras", bounds=AT_LEAST_1, needs=_CAMERAS
    )
    refresh_cameras: bool = setting(
        True,
        "as released: embed and cluster the two cameras again before each pair; off: once an epoch",
        needs=_CAMERAS,
    )
    inter_camera: bool = setting(True, "the stage on labels of each modality, before the propagation starts")
    cae: bool = setting(True, "cluster cross-memory association embeddings (CAE); off: plain features")
    cae_scale: float = setting(
        20.0, "factor of the similarities in a CAE softmax", bounds=POSITIVE, needs=_CAE
    )
    released_cae_slices: bool = setting(
        False,
        "as released: the misaligned softmax slices over the cameras' memories",
        needs={**_CAE, **_CAMERAS},
    )
    inter_modality: bool = setting(True, "the stage on clusters of both modalities together")
    inter_modality_until: int = setting(
        40, "first epoch without the joint stage", bounds=AT_LEAST_0, needs=_BOTH
    )
    propagation: bool = setting(True, "label unification (CMLU): infrared labels for visible images")
    propagate_from: int = setting(
        30, "first epoch of the label unification", bounds=AT_LEAST_0, first_epoch=True, needs=_CMLU
    )
    joint: bool = setting(
        False,
        "from the unified stage on, cluster both modalities together under the modality-aware distance, in "
        "the place of the association; not published",
        needs=_CMLU,
    )
    propagation_k: int = setting(
        20, "infrared images whose labels a visible image weighs", bounds=AT_LEAST_1, needs=_LINKS
    )
    structure: bool = setting(True, "vote of the nearest visible images after the propagation", needs=_LINKS)
    structure_from: int = setting(
        40,
        "first epoch of the vote after the propagation",
        bounds=AT_LEAST_0,
        first_epoch=True,
        needs={**_LINKS, "structure": True},
    )
    structure_k: int = setting(
        20,
        "voters after the propagation, the image itself included",
        bounds=AT_LEAST_1,
        needs={**_LINKS, "structure": True},
    )


class GUR:
    """Stages "cameras_V_I" for each pair of cameras, "modalities" (later "unified") and "joint"."""

    title = "Grand Unified Representation Learning"
    paper = "https://doi.org/10.1109/ICCV51070.2023.01016"
    SETTINGS = GURSettings
    # On LLCM, which takes the recipe of SYSU-MM01, GUR has 9 x 8 pairs of cameras instead of 4 x 2:
    # --camera-iters, --no-refresh-cameras and --no-intra-camera shorten it.
    RECIPES: ClassVar[dict[str, dict[str, Any]]] = {
        "sysu": RESNET,
        "regdb": {
            **RESNET_REGDB,
            "epochs": 30,
            "intra_camera": False,
            "inter_modality_until": 25,
            "propagate_from": 20,
            "propagation_k": 10,
            "structure_from": 20,
            "structure_k": 10,
        },
    }
    released_line: ClassVar[dict[str, dict[str, Any]]] = {"regdb": {"eps": 0.6}}
    branches = ("deep",)
    agw = "resnet50"
    unit_views = True
    restarts: tuple[int, ...] = ()

    def __init__(self, settings: Settings, cameras: Indexes):
        self.gur: GURSettings = settings.method
        self.cluster, self.memory, self.batch = settings.cluster, settings.memory, settings.batch
        self.sizes = {m: len(cameras[m]) for m in MODALITIES}
        # modality -> camera -> indexes
        self.images_of = {
            m: {int(c): np.flatnonzero(cameras[m] == c) for c in np.unique(cameras[m])} for m in MODALITIES
        }

    def stages(self, epoch: int, extract: Extract, once: Once) -> Iterator[Stage]:
        """See `Method.stages`."""
        memories: Memories = {m: [] for m in MODALITIES}
        if self.gur.intra_camera:
            memories = yield from self._cameras(epoch, extract, once)
        if self.unified(epoch) and self.gur.joint:
            memories = yield from self._modality_aware(epoch, extract, once)
        else:
            memories = yield from self._modalities(epoch, extract, once, memories)
        if self.gur.inter_modality and epoch < self.gur.inter_modality_until:
            yield from self._both(epoch, extract, once, memories)

    def unified(self, epoch: int) -> bool:
        """Whether visible images train with infrared labels (CMLU), or with common clusters under --joint."""
        return self.gur.propagation and epoch >= self.gur.propagate_from

    def steps_per_epoch(self) -> int:
        """See `Method.steps_per_epoch`."""
        pairs = len(self._camera_pairs()) if self.gur.intra_camera else 0
        return 2 * self.batch.iters + pairs * self.gur.camera_iters

    # ------------------------------------------------------------------ intra-camera

    def _camera_pairs(self) -> list[dict[str, int]]:
        return [
            {"visible": v, "infrared": i}
            for v in self.images_of["visible"]
            for i in self.images_of["infrared"]
        ]

    def _cameras(self, epoch: int, extract: Extract, once: Once) -> Generator[Stage, None, Memories]:
        """One stage per pair of cameras, with labels of each camera. Returns the last memory of every camera.

        A pair in which a camera has fewer than two clusters is reported and not trained.
        """
        memories: dict[str, dict[int, Tensor]] = {m: {} for m in MODALITIES}
        known: dict[tuple[str, int], tuple[dict[str, Tensor], PseudoLabels]] = {}
        for cameras in self._camera_pairs():
            images = {m: self.images_of[m][c] for m, c in cameras.items()}
            if self.gur.refresh_cameras:
                known.clear()
            missing = {m: images[m] for m, c in cameras.items() if (m, c) not in known}
            if missing:
                known |= self._cluster_cameras(missing, cameras, extract, once)
            sources = {m: (known[m, c][0], known[m, c][1].ids) for m, c in cameras.items()}
            usable = min(known[m, c][1].occupied for m, c in cameras.items()) >= 2
            contrast = parts.ClusterContrast(sources, self.memory, first=epoch == 0) if usable else None
            pseudo = {m: parts.scatter(known[m, c][1], images[m], self.sizes[m]) for m, c in cameras.items()}
            yield Stage(
                f"cameras_{cameras['visible']}_{cameras['infrared']}",
                {m: pseudo[m].ids for m in MODALITIES},
                self.gur.camera_iters,
                {"contrast": contrast} if contrast else {},
                [LabelSet(f"{m}_camera_{c}", m, pseudo[m], images[m]) for m, c in cameras.items()],
            )
            if contrast:
                for m, c in cameras.items():
                    memories[m][c] = contrast.memory(m)()  # after the stage was trained
        if not memories["visible"]:
            raise NoClusters(
                f"epoch {epoch}: no pair of cameras has two clusters on each side at --camera-eps "
                f"{self.gur.camera_eps}. Raise it if nearly all images are outliers, lower it if all fell "
                "into one cluster, or leave these stages out with --no-intra-camera"
            )
        return {m: list(memories[m].values()) for m in MODALITIES}

    def _cluster_cameras(
        self, images: Indexes, cameras: dict[str, int], extract: Extract, once: Once
    ) -> dict[tuple[str, int], tuple[dict[str, Tensor], PseudoLabels]]:
        """(modality, camera) -> features of the camera's images, and their pseudo-labels."""
        features = extract(images)
        labels = once(lambda: {m: self._cluster(features[m]["deep"], self.gur.camera_eps) for m in images})
        return {(m, cameras[m]): (features[m], labels[m]) for m in images}

    # ------------------------------------------------------------------ inter-camera, and CMLU

    def _modalities(
        self, epoch: int, extract: Extract, once: Once, cameras: Memories
    ) -> Generator[Stage, None, Memories]:
        """One stage on labels of each modality, or on infrared labels for both.

        Returns the memory of each modality.
        """
        features = extract()
        pseudo = once(
            lambda: {
                m: self._cluster(self._embedding(features[m], cameras[m]), self.cluster.eps)
                for m in MODALITIES
            }
        )
        require_clusters(pseudo, self.cluster.eps, epoch)
        labels, sets = {m: pseudo[m].ids for m in MODALITIES}, label_sets(pseudo)
        sources = {m: (features[m], labels[m]) for m in MODALITIES}
        contrast = parts.ClusterContrast(sources, self.memory, first=epoch == 0)
        visible = contrast.memory("visible")  # kept when CMLU's shared memory takes its place
        unified = self.unified(epoch)
        if unified:
            linked = once(lambda: self._unify(features, pseudo["infrared"], epoch))
            remedy = shorter_list(f"--propagation-k {self.gur.propagation_k}", "--propagate-from")
            require_links(linked, remedy, epoch)
            labels["visible"] = linked.ids
            sets.append(LabelSet("visible_associated", "visible", linked, shared_with="infrared"))
            contrast = parts.ClusterContrast(sources["infrared"], self.memory, first=False)
        trained = unified or self.gur.inter_camera
        name = "unified" if unified else "modalities"
        yield Stage(name, labels, self.batch.iters, {"contrast": contrast} if trained else {}, sets)
        return {"visible": [visible()], "infrared": [contrast.memory("infrared")()]}

    def _modality_aware(self, epoch: int, extract: Extract, once: Once) -> Generator[Stage, None, Memories]:
        """In the place of CMLU (--joint, not GUR's own): one stage on labels of both modalities together.

        Plain features are compared, because CAE describes the modalities by different memories. Returns the
        memory that they share.
        """
        features = extract()
        pseudo = parts.cluster_jointly(
            {m: features[m]["deep"] for m in MODALITIES}, self.cluster, once, epoch
        )
        labels = {m: y.ids for m, y in pseudo.items()}
        contrast = parts.ClusterContrast(parts.joint_source(features, labels), self.memory, first=False)
        yield Stage(
            "unified", labels, self.batch.iters, {"contrast": contrast}, label_sets(pseudo, common=True)
        )
        return {"visible": [], "infrared": [contrast.memory("infrared")()]}

    def _embedding(self, features: dict[str, Tensor], memories: list[Tensor]) -> Tensor:
        """The embedding that is clustered: CAE over the cameras' memories, or plain features without any."""
        if not self.gur.cae or not memories:
            return features["deep"]
        slices_of = association.released_slices if self.gur.released_cae_slices else association.memory_slices
        slices = slices_of([len(memory) for memory in memories])
        return association.association_embedding(features["deep"], memories, self.gur.cae_scale, slices)

    def _unify(self, features: Features, infrared: PseudoLabels, epoch: int) -> PseudoLabels:
        """CMLU: infrared labels for the visible images, smoothed among them from `structure_from` on."""
        ids = association.propagate_labels(
            features["visible"]["deep"], features["infrared"]["deep"], infrared.ids, self.gur.propagation_k
        )
        if self.gur.structure and epoch >= self.gur.structure_from:
            ids = association.majority_of_neighbors(ids, features["visible"], self.gur.structure_k)
        return PseudoLabels(ids, infrared.num_clusters)

    # ------------------------------------------------------------------ inter-modality

    def _both(self, epoch: int, extract: Extract, once: Once, memories: Memories) -> Iterator[Stage]:
        """One stage on clusters of both modalities together, if each has images in them."""
        features = extract()
        joint = once(lambda: self._cluster_both(features, memories))
        parted = dict(zip(MODALITIES, np.split(joint.ids, [self.sizes["visible"]])))
        pseudo = {m: PseudoLabels(ids, joint.num_clusters) for m, ids in parted.items()}
        usable = joint.occupied >= 2 and all(y.occupied for y in pseudo.values())
        objectives = {}
        if usable:
            source = parts.joint_source(features, parted)
            objectives["contrast"] = parts.ClusterContrast(source, self.memory, first=epoch == 0)
        yield Stage("joint", parted, self.batch.iters, objectives, label_sets(pseudo, "_joint", common=True))

    def _cluster_both(self, features: Features, memories: Memories) -> PseudoLabels:
        """Labels (Nv + Nr,) of the visible, then the infrared images."""
        both, _ = parts.joint_source(features, {m: np.zeros(self.sizes[m], np.int64) for m in MODALITIES})
        embedding = both["deep"]
        if self.gur.cae:
            stack = [memory for m in MODALITIES for memory in memories[m]]
            embedding = association.association_embedding(embedding, stack, self.gur.cae_scale)
        return self._cluster(embedding, self.cluster.eps)

    def _cluster(self, features: Tensor, eps: float) -> PseudoLabels:
        return parts.cluster(features, self.cluster, normalize=False, eps=eps)
