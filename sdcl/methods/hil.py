"""HIL: Hierarchical Identity Learning for Unsupervised Visible-Infrared Person Re-Identification.

Haonan Shi, Yubin Wang, De Cheng, Lingfeng He, Nannan Wang, Xinbo Gao. arXiv 2025.
https://arxiv.org/abs/2509.11587
Released code: https://github.com/haonanshi0125/HIL. It refines a network of SDCL's first stage
(`--from-run`). What it adds to SDCL, and the calls that implement it:

    label transfer            `transfer_labels`: visible images take the infrared cluster of their most
                              similar centroid
    hierarchical identities   `cluster_groups`, `cluster_centres`: a cluster's mean and the means of its parts
    identity contrast         `IdentityContrast`: inverse distances to those centres, where deep and shallow
                              features agree
    bidirectional contrast    SDCL's shared memories and neighbour learning, with weight .1

Per epoch: extract -> pseudo-labels of each modality -> visible images take infrared labels -> memories,
centres -> steps. The released code goes on from its best test result at epoch 20; here nothing is chosen by
test results.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from sdcl import association, memory
from sdcl.clustering.labels import LabelSet, PseudoLabels
from sdcl.config.fields import AT_LEAST_0, AT_LEAST_1, SHARE, setting
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
)

if TYPE_CHECKING:
    from torch import nn

    from sdcl.config import Settings

BRANCH_WEIGHTS = {"deep": 1.0, "shallow": 0.5}


@dataclass(frozen=True)
class HILSettings:
    """Settings of HIL's label transfer, centres and losses."""

    transfer_threshold: float = setting(
        0.5,
        "a visible image takes an infrared label above this share of the centroid's largest similarity",
        bounds=SHARE,
    )
    centres: int = setting(9, "parts of a cluster whose means are centres beside its mean", bounds=AT_LEAST_1)
    centre_weight: float = setting(
        0.1, "weight of a part's mean in its centre, the cluster's mean has the rest", bounds=SHARE
    )
    identity_weight: float = setting(0.2, "weight of the identity contrast before --identity-from")
    identity_weight_late: float = setting(2.0, "weight of the identity contrast from --identity-from on")
    identity_from: int = setting(
        20, "first epoch of the larger weight of the identity contrast", bounds=AT_LEAST_0, first_epoch=True
    )
    neighbor_weight: float = setting(0.1, "weight of the neighbour losses")
    neighbor_threshold: float = setting(
        0.9, "a neighbour is above this share of the anchor's largest similarity", bounds=SHARE
    )
    visible_to_infrared_factor: float = setting(
        0.1, "as released: further factor of the visible-to-infrared neighbour loss; clean form: 1"
    )
    instance_momentum: float = setting(
        0.9, "weight of the old row in the update of an instance memory", bounds=SHARE
    )
    raw_instance_update: bool = setting(
        True,
        "as released: features enter the instance memory without normalisation; "
        "--no-raw-instance-update: the clean form",
    )


class HIL:
    """One stage per epoch: "identity"."""

    title = "Hierarchical Identity Learning"
    paper = "https://arxiv.org/abs/2509.11587"
    SETTINGS = HILSettings
    RECIPES: ClassVar[dict[str, dict[str, Any]]] = {
        "sysu": {"epochs": 30, "iters": 100, "lr": 3.5e-5, "step_size": 30},
        "regdb": {
            "epochs": 30,
            "iters": 50,
            "lr": 3.5e-5,
            "step_size": 30,
            "eps": 0.3,
            "transfer_threshold": 0.8,
            "centres": 2,
        },
    }
    released_line: ClassVar[dict[str, dict[str, Any]]] = {
        "sysu": {"arch": "agw", "batch_size": 256},
        "regdb": {"arch": "agw", "batch_size": 256, "eps": 0.6},
    }
    branches = ("deep", "shallow")
    agw = "resnet50_ibn"
    starts_from = ("sdcl", "contrast")  # its first stage
    # It starts from a trained network, so its first epoch is like the others.
    unread = frozenset({"momentum_first"})
    labels = ("none", "visible", "infrared")
    unit_views = False
    restarts: tuple[int, ...] = ()

    def __init__(self, settings: Settings, cameras: Indexes | None = None, identities: Indexes | None = None):
        self.identities = identities
        self.hil: HILSettings = settings.method
        self.cluster, self.memory, self.batch = settings.cluster, settings.memory, settings.batch

    def stages(self, epoch: int, extract: Extract, once: Once) -> Iterator[Stage]:
        """See `Method.stages`."""
        features = extract()
        joined = {m: parts.side_by_side(features[m]) for m in MODALITIES}
        pseudo = once(
            lambda: parts.label_each(
                lambda m: parts.cluster(joined[m], self.cluster, normalize=True), self.identities
            )
        )
        require_clusters(pseudo, self.cluster.eps, epoch)
        infrared = pseudo["infrared"]
        centroids = memory.centroids(joined["infrared"], infrared.ids)
        transferred = once(
            lambda: PseudoLabels(
                association.transfer_labels(
                    joined["visible"], pseudo["visible"].ids, centroids, self.hil.transfer_threshold
                ),
                infrared.num_clusters,
            )
        )
        remedy = (
            f"Check that --from-run names the end of SDCL's first stage, or try another --transfer-threshold "
            f"(it is {self.hil.transfer_threshold})."
        )
        require_links(transferred, remedy, epoch)
        labels = {"visible": transferred.ids, "infrared": infrared.ids}
        source = parts.joint_source(features, labels)
        objectives = self.objectives(epoch, features, source, once)
        shown = [
            *label_sets(pseudo),
            LabelSet("visible_associated", "visible", transferred, shared_with="infrared"),
        ]
        yield Stage("identity", labels, self.batch.iters, objectives, shown)

    def objectives(
        self, epoch: int, features: Features, source: parts.Source, once: Once
    ) -> dict[str, nn.Module]:
        """Neighbour losses, shared cluster memories, identity contrast.

        Args:
            source: images of both modalities, visible first, and their labels.
        """
        images, labels = source
        k = self.hil.centres
        groups = once(lambda: {b: memory.cluster_groups(f, labels, k) for b, f in images.items()})
        centres = {
            b: memory.cluster_centres(f, labels, groups[b], k, self.hil.centre_weight)
            for b, f in images.items()
        }
        return {
            "neighbors": self.neighbor_learning(epoch, features),
            "contrast": parts.ClusterContrast(source, self.memory, first=False),
            "identity": self.identity_contrast(epoch, centres),
        }

    def identity_contrast(self, epoch: int, centres: dict[str, Any]) -> nn.Module:
        """The identity contrast of an epoch. The released code adds the same term twice; the weights here
        hold both.
        """
        late = epoch >= self.hil.identity_from
        weight = self.hil.identity_weight_late if late else self.hil.identity_weight
        return parts.IdentityContrast(centres, {b: weight * BRANCH_WEIGHTS[b] for b in centres})

    def neighbor_learning(self, epoch: int, features: Features) -> nn.Module:
        """SDCL's neighbour losses with HIL's weight; across the modalities one direction an epoch."""
        pairs = dict.fromkeys(INTRA, self.hil.neighbor_weight)
        direction = CROSS[epoch % 2]
        factor = self.hil.visible_to_infrared_factor if direction == CROSS[0] else 1.0
        pairs[direction] = self.hil.neighbor_weight * factor
        return parts.NeighborLearning(
            features,
            pairs,
            BRANCH_WEIGHTS,
            threshold=self.hil.neighbor_threshold,
            temp=self.memory.temp,
            momentum=self.hil.instance_momentum,
            raw_update=self.hil.raw_instance_update,
            late_gradients=self.memory.late_gradients,
        )

    def steps_per_epoch(self) -> int:
        """See `Method.steps_per_epoch`."""
        return self.batch.iters
