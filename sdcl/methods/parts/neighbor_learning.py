"""Collaborative neighbour learning (CNL) of SDCL: instance memories, agreeing neighbours, and their contrast.

B images of a batch, N images, D dimensions; f live features, W instance memory, tau temperature.
"""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from sdcl.losses import agreeing_neighbors, neighbor_contrast
from sdcl.memory import InstanceMemory
from sdcl.methods.interface import Batch, Features
from sdcl.runtime.devices import upload


class NeighborLearning(nn.Module):
    """The instance memories of one epoch, one for each modality and branch, and the neighbour losses of
    its steps.

    Args:
        features: modality -> branch -> (N, D) of all training images, which fill the memories.
        pairs: (anchor modality, neighbour modality) -> weight. branch_weights: branch -> further weight.
        threshold: a neighbour is above this share of the anchor's largest similarity. temp: tau.
        momentum: weight of a memory's old row. raw_update: features enter the memories without normalisation,
            as released.
        late_gradients: gradients use memories that this step has updated, as released.
    """

    def __init__(
        self,
        features: Features,
        pairs: dict[tuple[str, str], float],
        branch_weights: dict[str, float],
        *,
        threshold: float,
        temp: float,
        momentum: float,
        raw_update: bool,
        late_gradients: bool,
    ):
        super().__init__()
        self.pairs, self.branch_weights, self.threshold, self.temp = pairs, branch_weights, threshold, temp
        self.momentum, self.raw_update, self.late_gradients = momentum, raw_update, late_gradients
        self.instances = nn.ModuleDict(  # modality -> branch -> W (N, D)
            {
                m: nn.ModuleDict({b: InstanceMemory(f) for b, f in branches.items()})
                for m, branches in features.items()
            }
        )

    def forward(self, features: Features, gathered: Features, batch: Batch) -> dict[str, Tensor]:
        """One term per pair of modalities and branch; see `Stage.objectives` for the arguments.

        Masks and probabilities use W as it was before this step; then W takes in the batch; gradients use
        either (see above).
        """
        memories = {
            m: {b: cast("InstanceMemory", w) for b, w in cast("nn.ModuleDict", branches).items()}
            for m, branches in self.instances.items()
        }
        before = {m: {b: memory() for b, memory in branches.items()} for m, branches in memories.items()}
        masks = {}
        for anchor, neighbor in self.pairs:
            rows = upload(
                batch.indexes[anchor][batch.local[anchor]], next(iter(before[anchor].values())).device
            )
            anchors = {b: w[rows] for b, w in before[anchor].items()}  # (B, D) each
            masks[anchor, neighbor] = agreeing_neighbors(anchors, before[neighbor], self.threshold)
        for m, branches in memories.items():
            for branch, memory in branches.items():
                memory.update(gathered[m][branch], batch.indexes[m], self.momentum, raw=self.raw_update)
        terms = {}
        for (anchor, neighbor), weight in self.pairs.items():
            for branch, live in features[anchor].items():
                late = memories[neighbor][branch].rows if self.late_gradients else None
                loss = neighbor_contrast(
                    live, masks[anchor, neighbor], before[neighbor][branch], self.temp, late
                )
                terms[f"neighbor_{anchor}_{neighbor}_{branch}"] = weight * self.branch_weights[branch] * loss
        return terms
