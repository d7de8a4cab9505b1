"""SDCL: Shallow-Deep Collaborative Learning for Unsupervised Visible-Infrared Person Re-Identification.

Bin Yang, Jun Chen, Mang Ye. CVPR 2024. Contributions, and the call that is each of them:

    shallow-deep features             the model's two branches; every memory and loss exists once per branch
    collaborative neighbour learning  `agreeing_neighbors`, `neighbor_contrast`        (CNL, from the first epochs)
    collaborative ranking association `collaborative_ranking`, `majority_of_neighbors` (CRA, unified stage, from epoch S)

Per epoch: extract -> pseudo-labels of each modality -> (epoch >= S) visible images take infrared labels -> memories -> iterations.
Symbols: B rows of a batch, N images, K clusters, D dimensions; f live features, M cluster memory, W instance memory, tau temperature.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from sdcl.association import collaborative_ranking, majority_of_neighbors
from sdcl.clustering import LabelSet, PseudoLabels
from sdcl.config.settings import Settings
from sdcl.datasets.sample import MODALITIES
from sdcl.losses import agreeing_neighbors, neighbor_contrast
from sdcl.memory import InstanceMemory
from sdcl.methods.cluster_contrast import Banked, ClusterContrast, cluster, shared
from sdcl.methods.interface import Batch, Extract, Features, Once, Rows, Stage, label_sets, require_clusters, require_links

INTRA = tuple((m, m) for m in MODALITIES)
CROSS = (("visible", "infrared"), ("infrared", "visible"))  # in even, in odd epochs


class SDCL:
    """Both stages of SDCL, one stage per epoch: "contrast", then "unified"."""

    restarts: tuple[int, ...] = ()
    unit_views = False

    def __init__(self, settings: Settings, cameras: Rows | None = None):
        self.own = settings.sdcl
        self.cluster, self.memory, self.batch = settings.cluster, settings.memory, settings.batch

    def unified(self, epoch: int) -> bool:
        return self.own.cra and epoch >= self.own.unify_from

    def stages(self, epoch: int, extract: Extract, once: Once) -> Iterator[Stage]:
        """See `Method.stages`."""
        features = extract()
        own = once(lambda: {m: self._cluster(features[m], m, epoch) for m in MODALITIES})
        require_clusters(own, self.cluster.eps, epoch)
        shown = label_sets(own)
        labels = {m: own[m].ids for m in MODALITIES}
        banked = {m: (features[m], labels[m]) for m in MODALITIES}
        if self.unified(epoch):
            associated = once(lambda: self._associate(features, own["infrared"]))
            shown.append(LabelSet("visible_associated", "visible", associated))
            require_links(associated, f"--cra-k {self.own.cra_k}", "--unify-from", epoch)
            labels["visible"] = np.where(own["visible"].ids == -1, -1, associated.ids)
            banked = shared(features, {**labels, "visible": associated.ids} if self.own.shared_memory_all else labels)
        step = _Iteration(self, epoch, banked, features)
        iterations = self.batch.iters_unified if self.unified(epoch) else self.batch.iters
        yield Stage("unified" if self.unified(epoch) else "contrast", labels, iterations, step, shown)

    def _cluster(self, features: dict[str, Tensor], modality: str, epoch: int) -> PseudoLabels:
        """One label per image from both branches: raw halves joined, then normalised as a whole."""
        k1 = self.cluster.k1_visible_unified if modality == "visible" and self.unified(epoch) else self.cluster.k1
        return cluster(torch.cat(list(features.values()), dim=1), self.cluster, normalize=True, k1=k1)

    def _associate(self, features: Features, infrared: PseudoLabels) -> PseudoLabels:
        """CRA: infrared labels for the visible images, smoothed among the visible images."""
        ids = collaborative_ranking(features["visible"], features["infrared"], infrared.ids, self.own.cra_k)
        if self.own.smoothing:
            ids = majority_of_neighbors(ids, features["visible"], self.own.smoothing_k)
        return PseudoLabels(ids, infrared.num_clusters)


class _Iteration(nn.Module):
    """Memories of one epoch, and the losses of one of its steps."""

    def __init__(self, method: SDCL, epoch: int, banked: Banked, features: Features):
        super().__init__()
        self.own, self.memory = method.own, method.memory
        self.pairs = method_pairs(method, epoch)
        self.contrast = ClusterContrast(banked, method.memory, first=epoch == 0 and not method.unified(epoch))
        self.instances = nn.ModuleDict()  # modality -> branch -> W, rows of all N images
        if self.pairs:
            for m in MODALITIES:
                self.instances[m] = nn.ModuleDict({b: InstanceMemory(f) for b, f in features[m].items()})

    def forward(self, features: Features, everyone: Features, batch: Batch) -> dict[str, Tensor]:
        """Weighted terms of one step; moves the memories on. See `Stage.objective`."""
        return {**self._neighbor_terms(features, everyone, batch), **self.contrast(features, everyone, batch)}

    def _neighbor_terms(self, features: Features, everyone: Features, batch: Batch) -> dict[str, Tensor]:
        """CNL: masks and probabilities from W as it was, then W takes in the batch, then (released) the gradients use it."""
        old = {m: {b: w() for b, w in banks.items()} for m, banks in self.instances.items()}
        masks = {}
        for query, key in self.pairs:
            rows = torch.as_tensor(batch.indexes[query][batch.local[query]], device=next(iter(old[query].values())).device)
            masks[query, key] = agreeing_neighbors({b: w[rows] for b, w in old[query].items()}, old[key], self.own.cnl_threshold)
        for m, banks in self.instances.items():
            for branch, w in banks.items():
                w.update(everyone[m][branch], batch.indexes[m], self.memory.instance_momentum, raw=self.own.raw_instance_update)
        terms = {}
        for (query, key), weight in self.pairs.items():
            for branch in features[query]:
                late = self.instances[key][branch].rows if self.memory.late_gradients else None
                loss = neighbor_contrast(features[query][branch], masks[query, key], old[key][branch], self.memory.temp, late)
                branch_weight = self.own.cnl_shallow_weight if branch == "shallow" else 1.0
                terms[f"neighbor_{query}_{key}_{branch}"] = weight * branch_weight * loss
        return terms


def method_pairs(method: SDCL, epoch: int) -> dict[tuple[str, str], float]:
    """CNL's (anchor modality, neighbour modality) pairs of an epoch, with their weights.

    Across modalities one direction an epoch: visible to infrared in even ones, with the released extra factor.
    """
    own, unified = method.own, method.unified(epoch)
    pairs: dict[tuple[str, str], float] = {}
    if own.cnl and own.cnl_intra and epoch >= own.intra_from:
        weight = own.cnl_intra_weight_unified if unified else own.cnl_intra_weight
        pairs |= dict.fromkeys(INTRA, weight)
    if own.cnl and own.cnl_cross and epoch >= max(own.intra_from, own.cross_from):
        weight = own.cnl_cross_weight_unified if unified else own.cnl_cross_weight
        direction = CROSS[epoch % 2]
        pairs[direction] = weight * (own.visible_to_infrared_factor if direction == CROSS[0] else 1.0)
    return pairs
