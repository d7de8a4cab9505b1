"""Pseudo-labels that the checkpoints of a run hold: clusters of each epoch that is on disk, links between
modalities.

`last.pt` and `previous.pt` hold the labels of the last two epochs, `stage_NAME.pt` those of the last epoch
of an earlier stage. Label numbers of one epoch mean nothing in another.

N training images of a modality.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from sdcl.datasets import MODALITIES, UNKNOWN
from sdcl.reporting.grids import share_of_most
from sdcl.runtime import checkpoint
from sdcl.runtime.errors import UserError

# Sets of checkpoints of earlier versions, which do not say whose label numbers a set shares.
SHARED = {
    "visible_associated": "infrared",
    "infrared_associated": "visible",
    "visible_joint": "infrared_joint",
}


class SavedLabels(NamedTuple):
    """A label set of a checkpoint. ids: int (N,), -1 an outlier. The rest as in `LabelSet`."""

    ids: np.ndarray
    modality: str
    shared_with: str
    rows: np.ndarray | None = None

    @property
    def outliers(self) -> int:
        """Images that were clustered and are in no cluster."""
        return int(((self.ids if self.rows is None else self.ids[self.rows]) < 0).sum())


class LabelledEpoch(NamedTuple):
    """Labels of one epoch. sets: by their names. file: its checkpoint."""

    epoch: int
    file: str
    sets: dict[str, SavedLabels]


class ClusterSummary(NamedTuple):
    """One cluster. members: rows of the modality's training list. The last two are None where an
    identity is unknown.
    """

    label: int
    members: np.ndarray
    cameras: list[int]
    identities: int | None
    purity: float | None


class LabelLink(NamedTuple):
    """A label that images of both modalities carry. right: share of the visible images whose identity is
    the most frequent one of the infrared images; None where one is unknown.
    """

    label: int
    visible: np.ndarray
    infrared: np.ndarray
    right: float | None


def labelled_epochs(folder: Path) -> tuple[list[LabelledEpoch], list[str]]:
    """The epochs of a run folder whose labels are on disk, in order, and
    notes on files that cannot be read.
    """
    names = sorted(path.name for path in folder.glob("stage_*.pt"))
    found: dict[int, LabelledEpoch] = {}
    notes = []
    for name in (*names, checkpoint.PREVIOUS, checkpoint.LAST):
        if not (folder / name).is_file():
            continue
        try:
            state = checkpoint.load(folder / name)
        except UserError as error:
            notes.append(str(error))
            continue
        about = state.get("label_sets", {})
        sets = {name: _saved(name, ids, about.get(name)) for name, ids in state.get("labels", {}).items()}
        if sets:
            found[int(state["epoch"])] = LabelledEpoch(int(state["epoch"]), name, sets)
    return [found[epoch] for epoch in sorted(found)], notes


def _saved(name: str, ids: Tensor, about: dict[str, Any] | None) -> SavedLabels:
    """A label set from a checkpoint; what an earlier version did not write is in its name."""
    if about is None:
        modality = next(m for m in MODALITIES if name.startswith(m))
        about = {"modality": modality, "shared_with": SHARED.get(name, "")}
    rows = about.get("rows")
    return SavedLabels(
        ids.numpy().astype(np.int64),
        about["modality"],
        about["shared_with"],
        None if rows is None else rows.numpy(),
    )


def cluster_summaries(
    ids: np.ndarray, identities: np.ndarray | None = None, cameras: np.ndarray | None = None
) -> list[ClusterSummary]:
    """All clusters, the largest first.

    Args:
        ids: (N,) labels. identities, cameras: int (N,), None without a list of images.
    """
    summaries = []
    for label in np.unique(ids[ids >= 0]).tolist():
        members = np.flatnonzero(ids == label)
        people = None if identities is None else identities[members]
        known = people is not None and not (people == UNKNOWN).any()
        summaries.append(
            ClusterSummary(
                label,
                members,
                [] if cameras is None else [int(c) for c in np.unique(cameras[members])],
                len(np.unique(people)) if known and people is not None else None,
                share_of_most(people) if known and people is not None else None,
            )
        )
    return sorted(summaries, key=lambda c: (-len(c.members), c.label))


def links(sets: dict[str, SavedLabels], identities: dict[str, np.ndarray] | None = None) -> list[LabelLink]:
    """Labels shared across modalities, those of most visible images first; none where the method's label
    sets are numbered apart. Of several pairs of sets the first counts.
    """
    pair = next(((one, sets[one.shared_with]) for one in sets.values() if one.shared_with in sets), None)
    if pair is None:
        return []
    ids = {one.modality: one.ids for one in pair}
    visible_ids, infrared_ids = ids["visible"], ids["infrared"]
    found = []
    for label in np.intersect1d(visible_ids[visible_ids >= 0], infrared_ids[infrared_ids >= 0]).tolist():
        visible, infrared = np.flatnonzero(visible_ids == label), np.flatnonzero(infrared_ids == label)
        right = None
        if identities is not None:
            people = identities["visible"][visible], identities["infrared"][infrared]
            if not any((of == UNKNOWN).any() for of in people):
                values, counts = np.unique(people[1], return_counts=True)
                right = float((people[0] == values[counts.argmax()]).mean())
        found.append(LabelLink(label, visible, infrared, right))
    return sorted(found, key=lambda link: (-len(link.visible), link.label))
