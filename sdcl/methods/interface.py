"""What a method hands to the training step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from torch import Tensor, nn

from sdcl.clustering import LabelSet, PseudoLabels
from sdcl.runtime.errors import TrainingError

FEW = 120  # images of a modality: four rank lists of the recipes' --k1
Features = dict[str, dict[str, Tensor]]  # modality -> branch -> (B, D)
Rows = dict[str, np.ndarray]  # modality -> rows of the training list


@dataclass(frozen=True)
class Batch:
    """The global batch of one step, and which part of it this process holds.

    A visible image stands once per view: all plain views first, then all channel-exchanged ones.

    Args:
        labels: modality -> int (B,) memory rows. indexes: modality -> int (B,) rows of the training list.
        local: modality -> the slice of the B rows that this process embedded with gradient.
    """

    labels: dict[str, np.ndarray]
    indexes: dict[str, np.ndarray]
    local: dict[str, slice]


@dataclass
class Stage:
    """Some iterations with fixed labels.

    Args:
        name: what the log calls it.
        labels: modality -> int (N,), the labels that are sampled; images with -1 rest.
        iterations: optimiser steps.
        objective: (features of this process with gradient, features of the global batch without, batch) -> named, weighted
            terms whose sum is the loss. It owns the memories and moves them on, so it is called once a step, on every process alike.
            None: the stage only reports.
        label_sets: pseudo-labels to show in logs and reports; training does not read them.
    """

    name: str
    labels: dict[str, np.ndarray]
    iterations: int
    objective: nn.Module | None
    label_sets: list[LabelSet] = field(default_factory=list)

    def named(self, name: str) -> PseudoLabels:
        """The pseudo-labels of the label set with this name."""
        return next(s.labels for s in self.label_sets if s.name == name)


class Extract(Protocol):
    """Compute features of the training images with the model's present weights, averaged over each image and its horizontal flip.

    Every process must make the same calls in the same order; each gets all features. They are recorded for the case that a signal
    interrupts the epoch (`sdcl.training.epoch_journal`), so a method must not change them in place.

    Args:
        rows: modality -> int (n,), the training images to embed, in this order; None: all N images of both modalities.

    Returns:
        modality -> branch -> float32 (N, D), or (n, D) of the modalities that `rows` names, not normalised, on the run's device.
    """

    def __call__(self, rows: Rows | None = None) -> Features: ...


class Once(Protocol):
    """Compute a value on one process and give it to all. What `make` raises there is raised on every process.

    Everything costly or not bitwise reproducible between processes belongs in here, such as clustering and association. Every process
    must make the same calls in the same order. A value is recorded for the case that a signal interrupts the epoch, so a method must
    not change it in place, and it must be one that a checkpoint can hold.

    Args:
        make: returns None, a number, a string, a NumPy array or scalar of numbers, a tensor, `PseudoLabels`, or a dict (with keys that
            are strings, integers or tuples of these), list or tuple of such values.

    Raises:
        TypeError: `make` returned anything else, such as a set or an object of a class of your own; raised at the call, on every process.
    """

    def __call__(self, make: Callable[[], Any]) -> Any: ...


class Method(Protocol):
    """What `sdcl.train` asks of a method; it is built from the settings and from modality -> int (N,) cameras.

    restarts: epochs that begin with a new optimiser and learning rate.
    unit_views: bring the features of each view to unit length before they are averaged (ADCA, GUR; their ResNet does so itself).
    """

    restarts: tuple[int, ...]
    unit_views: bool

    def stages(self, epoch: int, extract: Extract, once: Once) -> Iterator[Stage]:
        """The stages of an epoch, from 0, one after another: each is trained before the next is asked for.

        Raises:
            NoClusters: there is nothing to train on.
        """
        ...


class NoClusters(TrainingError):
    """Clustering left nothing to train on."""


def require_clusters(labels: dict[str, PseudoLabels], eps: float, epoch: int) -> None:
    """Stop with what was seen and what to try when a modality has fewer than two clusters.

    Raises:
        NoClusters: one cluster gives a contrast nothing to tell apart, none gives no label at all.
    """
    for modality, found in labels.items():
        if found.occupied < 2:
            tried = f" and, moving it by --eps-step, up to {found.eps:.2f}" if found.eps not in (None, eps) else ""
            few = f"So few images need shorter lists: try --k1 {max(len(found.ids) // 4, 3)} --k2 2. " if len(found.ids) < FEW else ""
            raise NoClusters(
                f"epoch {epoch}: DBSCAN found {found.occupied} cluster(s) among {len(found.ids)} {modality} images, with "
                f"{found.outliers} outliers, at --eps {eps}{tried}; training needs at least 2. "
                f"If nearly all are outliers raise --eps; if all fell into one cluster lower it. {few}"
                "From random weights (--pretrained none) features show cameras, not people: start from pre-trained weights. "
                "If this happens after the first epoch, try --momentum-first 0.9 (or 0.99) and a lower --lr."
            )


def require_links(linked: PseudoLabels, length: str, start: str, epoch: int) -> None:
    """The same for labels taken over from the other modality.

    Args:
        length, start: the flags of the association's rank lists (with its value) and of its first epoch.

    Raises:
        NoClusters: all images were linked to one cluster, or to none.
    """
    if linked.occupied < 2:
        raise NoClusters(
            f"epoch {epoch}: the association linked {len(linked.ids) - linked.outliers} of {len(linked.ids)} visible images, to "
            f"{linked.occupied} of {linked.num_clusters} infrared clusters; training needs at least 2. A {length} beyond the size of "
            f"a cluster lets one label win everywhere: lower it. Or let the first stage go on longer with a later {start}."
        )


def label_sets(labels: Mapping[str, PseudoLabels], suffix: str = "") -> list[LabelSet]:
    """A label set for each modality, named after it: {"visible": y} with suffix "_joint" gives the set "visible_joint"."""
    return [LabelSet(modality + suffix, modality, found) for modality, found in labels.items()]
