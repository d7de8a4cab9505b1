"""Feature interaction of DCCL: instance memories, neighbours that are consistent by instance and by identity,
and their contrasts.

Our reading of DCCL, see sdcl/methods/dccl.py. B images of a batch, N images, P prototypes, D dimensions; f
live features, W instance memory, g identity descriptions, tau temperature.
"""

from __future__ import annotations

from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from sdcl.association import identity_descriptions
from sdcl.losses import agreeing_neighbors, cluster_contrast, neighbor_contrast
from sdcl.memory import InstanceMemory, Prototypes
from sdcl.methods.interface import Batch, Features
from sdcl.runtime.devices import upload


class DualConsistency(nn.Module):
    """The instance memories of one epoch, and the neighbour and instance losses of its steps.

    Args:
        features: modality -> branch -> (N, D) of all training images; the deep ones fill the memories.
        identities: (anchor modality, neighbour modality) -> prototypes, whose parts are cameras, that
            describe the images of this pair; they stay as they are in the epoch. Each pair has a loss term.
        instance: contrast each image with all rows of its modality, its own being the positive.
        threshold: a neighbour is above this share of the anchor's largest similarity, in W and in g.
        temp: tau. identity_temp: of the descriptions. momentum: weight of a memory's old row.
        late_gradients: gradients use memories that this step has updated.
    """

    def __init__(
        self,
        features: Features,
        identities: dict[tuple[str, str], Prototypes],
        *,
        instance: bool,
        threshold: float,
        temp: float,
        identity_temp: float,
        momentum: float,
        late_gradients: bool,
    ):
        super().__init__()
        self.identities, self.instance, self.threshold, self.temp = identities, instance, threshold, temp
        self.identity_temp, self.momentum, self.late_gradients = identity_temp, momentum, late_gradients
        self.instances = nn.ModuleDict({m: InstanceMemory(f["deep"]) for m, f in features.items()})
        for pair in identities:  # once an epoch, (N, P)
            described = self.describe(self.memory(pair[1]).rows, pair)
            self.register_buffer("identity_" + "_".join(pair), described)

    def memory(self, modality: str) -> InstanceMemory:
        """The instance memory of a modality."""
        return cast("InstanceMemory", self.instances[modality])

    def describe(self, rows: Tensor, pair: tuple[str, str]) -> Tensor:
        """g of rows (n, D) by the prototypes of a pair of modalities. -> unit rows (n, P)"""
        prototypes = self.identities[pair]
        return identity_descriptions(rows, prototypes.rows, prototypes.parts, self.identity_temp)

    def neighbors(self, live: Tensor, bank: Tensor, pair: tuple[str, str]) -> Tensor:
        """m_ij = [a_ij > t max_j a_ij] [p_ij > t max_j p_ij], a = cos(f_i, W_j), p = cos(g_fi, g_Wj).

        Args:
            live: (B, D). bank: (N, D) unit rows, W of the neighbours' modality.

        Returns:
            bool (B, N).
        """
        anchors = F.normalize(live.detach().float())
        descriptions = self.get_buffer("identity_" + "_".join(pair))
        return agreeing_neighbors(
            {"instance": anchors, "identity": self.describe(anchors, pair)},
            {"instance": bank, "identity": descriptions},
            self.threshold,
        )

    def forward(self, features: Features, gathered: Features, batch: Batch) -> dict[str, Tensor]:
        """One term per pair of modalities, and one per modality with `instance`; weights 1.

        Masks and probabilities use W as it was before this step; then W takes in the batch; gradients use
        either (see above). See `Stage.objectives` for the arguments.
        """
        before = {m: self.memory(m)() for m in self.instances}
        masks = {
            pair: self.neighbors(features[pair[0]]["deep"], before[pair[1]], pair) for pair in self.identities
        }
        for m in self.instances:
            self.memory(m).update(gathered[m]["deep"], batch.indexes[m], self.momentum, raw=False)
        late = {m: self.memory(m).rows if self.late_gradients else None for m in self.instances}
        terms = {}
        for (anchor, neighbor), mask in masks.items():
            terms[f"neighbor_{anchor}_{neighbor}_deep"] = neighbor_contrast(
                features[anchor]["deep"], mask, before[neighbor], self.temp, late[neighbor]
            )
        for m in self.instances if self.instance else ():
            own = upload(batch.indexes[m][batch.local[m]], before[m].device)
            terms[f"instance_{m}_deep"] = cluster_contrast(
                features[m]["deep"], own, before[m], self.temp, late[m]
            )
        return terms
