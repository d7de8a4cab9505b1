"""The interface between a method and the training session: stages of labels, memories and losses.

B images of a batch, N training images of a modality, D dimensions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeAlias, TypeVar

import numpy as np

from sdcl.clustering.labels import OUTLIER, LabelSet, PseudoLabels
from sdcl.datasets import MODALITIES
from sdcl.runtime.errors import TrainingError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from sdcl.config import Settings

T = TypeVar("T")
FEW = 120  # images of a modality: four rank lists of the recipes' --k1
Features: TypeAlias = "dict[str, dict[str, Tensor]]"  # modality -> branch -> (B, D) or (N, D)
Indexes: TypeAlias = dict[str, np.ndarray]  # modality -> indexes of training images


@dataclass(frozen=True)
class Batch:
    """The global batch of one step, and which part of it this process holds.

    A visible image occurs once per view: all plain views first, then all translated ones.

    Args:
        labels: modality -> int (B,), prototypes of the cluster memory. indexes: modality -> int (B,),
            training images.
        local: modality -> the slice of the B images that this process embedded with gradient.
    """

    labels: dict[str, np.ndarray]
    indexes: dict[str, np.ndarray]
    local: dict[str, slice]


# Pairs (anchor modality, neighbour modality) of neighbour losses: within the modalities, in every epoch;
# across them, one direction in even epochs and one in odd epochs.
INTRA = tuple((m, m) for m in MODALITIES)
CROSS = (("visible", "infrared"), ("infrared", "visible"))


@dataclass
class Stage:
    """Some training steps with fixed labels.

    Not the "stage 1, stage 2" of papers and method docstrings, which are parts of
    a run: `restarts` begins them.

    Args:
        name: shown in the log.
        labels: modality -> int (N,), from which batches are sampled; images with -1 are left out.
        iterations: optimiser steps.
        objectives: name -> module that maps (features of this process with gradient, features of the global
            batch without, batch) to named, weighted loss terms; their sum over all objectives is the loss. An
            objective owns memories and updates them, so it is called exactly once a step, on every process
            alike. Without objectives the stage only reports its labels.
        label_sets: pseudo-labels to show in logs and reports; training does not read them.
        alternate: a stage with as many iterations, whose steps alternate with this one's: after each
            optimiser step of this stage one of that stage, on batches of its own labels, with the same
            optimiser (BMIL).
        notes: what the log says of this stage; a sentence that comes again in later epochs is not repeated.
    """

    name: str
    labels: dict[str, np.ndarray]
    iterations: int
    objectives: Mapping[str, nn.Module] = field(default_factory=dict)
    label_sets: list[LabelSet] = field(default_factory=list)
    alternate: Stage | None = None
    notes: tuple[str, ...] = ()

    def named(self, name: str) -> PseudoLabels:
        """The pseudo-labels of the label set with this name."""
        return next(s.labels for s in self.label_sets if s.name == name)


class Extract(Protocol):
    """Features of the training images with the model's present weights, averaged over each image and its
    horizontal flip.
    """

    def __call__(self, rows: Indexes | None = None, *, translated: bool = False) -> Features:
        """modality -> branch -> float32 (N, D) on the run's device: the mean of the two views, each of unit
        length if the method has `unit_views`; the mean itself is not normalised.

        Every process must make the same calls in the same order, and gets all features. They are recorded, in
        case a signal interrupts the epoch, so do not change them in place.

        Args:
            rows: modality -> int (n,), indexes of the images to embed, in this order; None: all of both
                modalities. Modalities that are not named are left out of the result.
            translated: visible images in their second view (--translation), which is the same for an image in
                every epoch; plain ones without --second-view.

        Raises:
            TrainingError: the features have collapsed. Interrupted: a signal; the state is saved.
        """
        ...


class Once(Protocol):
    """Computation on one process whose result every process gets: clustering, association and everything
    else that is costly.
    """

    def __call__(self, make: Callable[[], T]) -> T:
        """The result of `make`, which is called on process 0 alone; what it raises is raised on every
        process.

        Every process must make the same calls in the same order. The result is recorded, in case a signal
        interrupts the epoch, so do not change it in place. It may be None, a number, a string, a NumPy array
        or scalar of numbers, a tensor, `PseudoLabels`, or a list, a tuple or a dict of these; keys are
        strings, integers or tuples of them.

        Raises:
            TypeError: the result is, or contains, something else, such as a set or an object of a class of
                your own. Raised at the call, on every process. Interrupted: a signal; the state is saved.
        """
        ...


class Method(Protocol):
    """A training method.

    It is built from the settings and from modality -> int (N,), the cameras of the training images; with
    --labels visible or infrared also from modality -> int (N,), the identities of that modality's images,
    numbered 0 .. K-1.

    Class attributes:
        SETTINGS: frozen dataclass of the method's own settings, each made by `sdcl.config.fields.setting`.
        RECIPES: data set -> {setting: value} where the released script differs from the defaults; may name
            shared settings.
        title, paper: what the method is, and the paper's address; for readers.
        branches: features that it trains, ("deep",) or ("deep", "shallow").
        agw: the architecture that `-a agw` means for it.
        starts_from: (method, stage), the end of whose stage it refines: what --from-run names; optional.
        released_line: data set -> {setting: value as its released command line gives it} of settings that the
            released program does not train with, or not throughout; the log answers a copied line; optional.
        labels: values of --labels that it can work with; absent: "none" alone.
        status: what readers of a result must know of the method, a sentence for log and report; optional.
        unread: shared settings that the method does not read; optional.
        unit_views: normalise the features of an image and of its flip before they are averaged (ADCA, GUR).

    Attributes:
        restarts: epochs that begin with a new optimiser and learning rate.
    """

    SETTINGS: ClassVar[Any]
    RECIPES: ClassVar[Mapping[str, Mapping[str, Any]]]
    title: ClassVar[str]
    paper: ClassVar[str]
    branches: ClassVar[tuple[str, ...]]
    agw: ClassVar[str]
    unit_views: ClassVar[bool]
    restarts: tuple[int, ...]

    def __init__(self, settings: Settings, cameras: Indexes): ...

    def stages(self, epoch: int, extract: Extract, once: Once) -> Iterator[Stage]:
        """The stages of an epoch, counted from 0: each is trained before the next is asked for.

        Raises:
            NoClusters: there is nothing to train on.
        """
        ...

    def steps_per_epoch(self) -> int:
        """Optimiser steps of a long epoch, for an estimate of the run's cost."""
        ...


class NoClusters(TrainingError):
    """Clustering left nothing to train on."""


def label_sets(
    labels: Mapping[str, PseudoLabels],
    suffix: str = "",
    *,
    common: bool = False,
    rows: Mapping[str, np.ndarray] | None = None,
) -> list[LabelSet]:
    """A label set for each modality, named after it: {"visible": y} with suffix "_joint" gives the set
    "visible_joint".

    Args:
        common: the labels are common clusters, so that equal numbers link images of both modalities.
        rows: the images that were clustered, of a modality in which they were not all.
    """
    shared = {"visible": "infrared" + suffix} if common else {}
    return [
        LabelSet(m + suffix, m, of_m, (rows or {}).get(m), shared_with=shared.get(m, ""))
        for m, of_m in labels.items()
    ]


def require_clusters(labels: Mapping[str, PseudoLabels], eps: float, epoch: int) -> None:
    """Stop with a remedy when a modality has fewer than two clusters.

    Raises:
        NoClusters: a contrast needs at least two clusters.
    """
    for modality, of_modality in labels.items():
        if of_modality.occupied >= 2:
            continue
        count = len(of_modality.ids)
        tried = (
            f" and, moving it by --eps-step, up to {of_modality.eps:.2f}"
            if of_modality.eps not in (None, eps)
            else ""
        )
        few = (
            f"So few images need shorter lists: try --k1 {max(count // 4, 3)} --k2 2. " if count < FEW else ""
        )
        raise NoClusters(
            f"epoch {epoch}: DBSCAN found {of_modality.occupied} cluster(s) among {count} {modality} images, "
            f"with {of_modality.outliers} outliers, at --eps {eps}{tried}; training needs at least 2. If "
            f"nearly all are outliers raise --eps; if all fell into one cluster lower it. {few}From random "
            "weights (--pretrained none) clusters are cameras, not people: start from pretrained weights. "
            "If this happens after the first epoch, try --momentum-first 0.9 (or 0.99) and a lower --lr."
        )


def require_common_clusters(labels: Mapping[str, PseudoLabels], eps: float, epoch: int) -> None:
    """The same for clusters of both modalities together.

    Raises:
        NoClusters: fewer than two clusters, or none with images of a modality.
    """
    occupied = {m: of_modality.occupied for m, of_modality in labels.items()}
    total = len(np.unique(np.concatenate([y.ids[y.ids != OUTLIER] for y in labels.values()])))
    if total >= 2 and all(occupied.values()):
        return
    raise NoClusters(
        f"epoch {epoch}: {total} common clusters, of which {occupied['visible']} have visible and "
        f"{occupied['infrared']} infrared images, at --eps {eps}; training needs 2, and images of both. "
        "Raise --eps if nearly all images are outliers, lower it if all fell "
        "together, or stay with --no-joint"
    )


def shorter_list(length: str, start: str) -> str:
    """The remedy of `require_links` for an association by lists of nearest images.

    Args:
        length: flag and value of the lists' length. start: flag of the association's first epoch.
    """
    return (
        f"A {length} beyond the size of a cluster lets one label win everywhere: lower it. Or let the first "
        f"stage go on longer with a later {start}."
    )


def require_links(linked: PseudoLabels, remedy: str, epoch: int) -> None:
    """The same for labels that were associated from the other modality.

    Args:
        remedy: what the user can change, a sentence or two.

    Raises:
        NoClusters: all images were linked to one cluster, or to none.
    """
    if linked.occupied >= 2:
        return
    count = len(linked.ids)
    raise NoClusters(
        f"epoch {epoch}: the association linked {count - linked.outliers} of {count} visible images, to "
        f"{linked.occupied} of {linked.num_clusters} infrared clusters; training needs at least 2. {remedy}"
    )
