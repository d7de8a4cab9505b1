"""GUR: Towards Grand Unified Representation Learning for Unsupervised Visible-Infrared Person Re-Identification.

Bin Yang, Jun Chen, Mang Ye. ICCV 2023. Contributions, and what is each of them:

    bottom-up domain learning               `_cameras`, then `_modalities`, then `_joint`: three kinds of stages in every epoch
    cross-memory association embedding      `association_embedding`                       (CAE, before the last two clusterings)
    cross-modality label unification        `propagate_labels`, `majority_of_neighbors`   (CMLU, from its epoch on)

Per epoch: every pair of a visible and an infrared camera is clustered and trained alone; then each modality on how its images resemble
the memories that the cameras' training left; then both together on how they resemble the memories that the modalities' training left.
Symbols: f features, M cluster memory, N images, C clusters, D dimensions. A data set without cameras (RegDB) skips the first kind.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from sdcl.association import association_embedding, majority_of_neighbors, own_slices, propagate_labels, released_slices
from sdcl.clustering import LabelSet, PseudoLabels
from sdcl.config.settings import Settings
from sdcl.datasets.sample import MODALITIES
from sdcl.methods.cluster_contrast import ClusterContrast, cluster, shared
from sdcl.methods.interface import Extract, Features, NoClusters, Once, Rows, Stage, label_sets, require_clusters, require_links

Memories = dict[str, list[Tensor]]  # modality -> (C, D) rows of each memory that trained


class GUR:
    """Stages "cameras_V_I" for each pair of cameras, "modalities" (later "unified") and "joint"."""

    restarts: tuple[int, ...] = ()
    unit_views = True

    def __init__(self, settings: Settings, cameras: Rows):
        self.own = settings.gur
        self.cluster, self.memory, self.batch = settings.cluster, settings.memory, settings.batch
        self.sizes = {m: len(cameras[m]) for m in MODALITIES}
        self.camera_rows = {m: {int(c): np.flatnonzero(cameras[m] == c) for c in np.unique(cameras[m])} for m in MODALITIES}

    def stages(self, epoch: int, extract: Extract, once: Once) -> Iterator[Stage]:
        """See `Method.stages`."""
        memories: Memories = {m: [] for m in MODALITIES}
        if self.own.intra_camera:
            memories = yield from self._cameras(epoch, extract, once)
        memories = yield from self._modalities(epoch, extract, once, memories)
        if self.own.inter_modality and epoch < self.own.inter_modality_until:
            yield from self._joint(epoch, extract, once, memories)

    # ------------------------------------------------------------------ intra-camera

    def _cameras(self, epoch: int, extract: Extract, once: Once) -> Iterator[Stage]:
        """One stage per pair of cameras, each labelled within itself. Returns every camera's memory as its last stage left it.

        A pair in which a camera has fewer than two clusters is left out, and the log says so.
        """
        last: dict[str, dict[int, Tensor]] = {m: {} for m in MODALITIES}
        known: dict[tuple[str, int], tuple[dict[str, Tensor], PseudoLabels]] = {}
        trained = 0
        for pair in ((v, i) for v in self.camera_rows["visible"] for i in self.camera_rows["infrared"]):
            camera = dict(zip(MODALITIES, pair))
            scope = {m: self.camera_rows[m][c] for m, c in camera.items()}
            if self.own.refresh_cameras:
                known.clear()
            new = {m: scope[m] for m, c in camera.items() if (m, c) not in known}
            if new:
                features = extract(new)
                found = once(lambda new=new, features=features: {m: self._cluster(features[m]["deep"], self.own.camera_eps) for m in new})
                known |= {(m, camera[m]): (features[m], found[m]) for m in new}
            features, found = ({m: known[m, c][part] for m, c in camera.items()} for part in (0, 1))
            usable = min(p.occupied for p in found.values()) >= 2
            banked = {m: (features[m], found[m].ids) for m in MODALITIES}
            contrast = ClusterContrast(banked, self.memory, first=epoch == 0) if usable else None
            labels = {m: spread(found[m], scope[m], self.sizes[m]) for m in MODALITIES}
            shown = [LabelSet(f"{m}_camera_{camera[m]}", m, labels[m], scope[m]) for m in MODALITIES]
            yield Stage(f"cameras_{pair[0]}_{pair[1]}", {m: labels[m].ids for m in MODALITIES}, self.own.camera_iters, contrast, shown)
            if contrast:
                trained += 1
                for m in MODALITIES:
                    last[m][camera[m]] = contrast.memories["deep"][m].rows
        if not trained:
            raise NoClusters(
                f"epoch {epoch}: no pair of cameras has two clusters on each side at --camera-eps {self.own.camera_eps}. "
                "Raise it if nearly all are outliers, lower it if all fell together, or go on without: --no-intra-camera"
            )
        return {m: list(last[m].values()) for m in MODALITIES}

    # ------------------------------------------------------------------ inter-camera, and CMLU

    def _modalities(self, epoch: int, extract: Extract, once: Once, cameras: Memories) -> Iterator[Stage]:
        """One stage on labels of each modality, or on infrared labels for both. Returns the memory of each modality."""
        features = extract()
        own = once(lambda: {m: self._cluster(self._seen_by(features[m], cameras[m]), self.cluster.eps) for m in MODALITIES})
        require_clusters(own, self.cluster.eps, epoch)
        labels, shown = {m: own[m].ids for m in MODALITIES}, label_sets(own)
        banked = {m: (features[m], labels[m]) for m in MODALITIES}
        contrast = ClusterContrast(banked, self.memory, first=epoch == 0)
        visible = contrast.memories["deep"]["visible"]  # before CMLU's shared memory takes its place
        unified = self.own.propagation and epoch >= self.own.propagate_from
        if unified:
            linked = once(lambda: self._unify(features, own["infrared"], epoch))
            require_links(linked, f"--propagation-k {self.own.propagation_k}", "--propagate-from", epoch)
            labels["visible"] = linked.ids
            shown.append(LabelSet("visible_associated", "visible", linked))
            contrast = ClusterContrast(dict.fromkeys(MODALITIES, banked["infrared"]), self.memory, first=False)
        trained = contrast if unified or self.own.inter_camera else None
        yield Stage("unified" if unified else "modalities", labels, self.batch.iters, trained, shown)
        return {"visible": [visible.rows], "infrared": [contrast.memories["deep"]["infrared"].rows]}

    def _seen_by(self, features: dict[str, Tensor], memories: list[Tensor]) -> Tensor:
        """What a modality is clustered by: CAE over its cameras' memories, or plainly its features where there are none."""
        if not self.own.cae or not memories:
            return features["deep"]
        slices = (released_slices if self.own.released_cae_slices else own_slices)([len(m) for m in memories])
        return association_embedding(features["deep"], memories, self.own.cae_scale, slices)

    def _unify(self, features: Features, infrared: PseudoLabels, epoch: int) -> PseudoLabels:
        """CMLU: infrared labels for the visible images; from `structure_from` on smoothed among the visible images."""
        ids = propagate_labels(features["visible"]["deep"], features["infrared"]["deep"], infrared.ids, self.own.propagation_k)
        if self.own.structure and epoch >= self.own.structure_from:
            ids = majority_of_neighbors(ids, features["visible"], self.own.structure_k)
        return PseudoLabels(ids, infrared.num_clusters)

    # ------------------------------------------------------------------ inter-modality

    def _joint(self, epoch: int, extract: Extract, once: Once, memories: Memories) -> Iterator[Stage]:
        """One stage on clusters of both modalities together, if each has images in them."""
        features = extract()

        def label() -> PseudoLabels:
            stack = [memory for m in MODALITIES for memory in memories[m]]
            rows = torch.cat([features[m]["deep"] for m in MODALITIES])
            return self._cluster(association_embedding(rows, stack, self.own.cae_scale) if self.own.cae else rows, self.cluster.eps)

        both = once(label)
        parts = np.split(both.ids, [self.sizes["visible"]])
        found = {m: PseudoLabels(ids, both.num_clusters) for m, ids in zip(MODALITIES, parts)}
        labels = {m: found[m].ids for m in MODALITIES}
        usable = both.occupied >= 2 and all(p.occupied for p in found.values())
        contrast = ClusterContrast(shared(features, labels), self.memory, first=epoch == 0) if usable else None
        yield Stage("joint", labels, self.batch.iters, contrast, label_sets(found, "_joint"))

    def _cluster(self, rows: Tensor, eps: float) -> PseudoLabels:
        return cluster(rows, self.cluster, normalize=False, eps=eps)


def spread(found: PseudoLabels, rows: np.ndarray, size: int) -> PseudoLabels:
    """Labels of some rows as labels of all `size` images, the others having none."""
    ids = np.full(size, -1, np.int64)
    ids[rows] = found.ids
    return PseudoLabels(ids, found.num_clusters)
