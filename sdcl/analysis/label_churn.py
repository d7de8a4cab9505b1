"""Change of the pseudo-labels from one epoch to the next, for the log only. N images, n of them clustered.

Label numbers mean nothing from one clustering to the next, so partitions are compared, never numbers.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sdcl.clustering import LabelSet, PseudoLabels


class LabelChurn:
    """Remembers the label sets of the last finished epoch, which its checkpoint holds.

    On the main process only.
    """

    def __init__(self) -> None:
        self.previous: dict[str, np.ndarray] = {}  # name -> int (N,)
        # name -> modality, shared_with and rows (None: all images), as in `LabelSet`
        self.about: dict[str, dict[str, Any]] = {}

    def update(self, label_sets: Iterable[LabelSet], summaries: dict[str, dict[str, Any]]) -> None:
        """Add the churn of an epoch's label sets to their summaries, and remember the sets.

        Of sets with the same name the last counts. Images are compared that both epochs clustered. A set that
        the epoch before did not have, or had for another number of images, has no churn.

        Args:
            summaries: name -> numbers for metrics.jsonl, changed in place.
        """
        current = {s.name: s for s in label_sets}
        for name, label_set in current.items():
            old = self.previous.get(name)
            if old is not None and len(old) == len(label_set.labels.ids):
                selection = self._in_both(name, label_set)
                summaries[name] |= label_churn(old[selection], label_set.labels, selection)
        self.previous = {name: label_set.labels.ids for name, label_set in current.items()}
        self.about = {
            name: {
                "modality": label_set.modality,
                "shared_with": label_set.shared_with,
                "rows": None if label_set.rows is None else torch.from_numpy(label_set.rows.astype(np.int64)),
            }
            for name, label_set in current.items()
        }

    def state(self) -> dict[str, Tensor]:
        """Tensors for a checkpoint."""
        return {name: torch.from_numpy(ids.astype(np.int32)) for name, ids in self.previous.items()}

    def _in_both(self, name: str, label_set: LabelSet) -> slice | np.ndarray:
        """Index of the images that this epoch and the one before clustered."""
        rows = self.about.get(name, {}).get("rows")
        if rows is None:
            return label_set.selection
        return rows.numpy() if label_set.rows is None else np.intersect1d(label_set.rows, rows.numpy())

    def load(self, state: dict[str, Tensor], about: dict[str, dict[str, Any]]) -> None:
        """Continue from what `state` returned, and what `about` was."""
        self.about = dict(about)
        self.previous = {name: ids.numpy().astype(np.int64) for name, ids in state.items()}


def label_churn(
    old: np.ndarray, new: PseudoLabels, selection: slice | np.ndarray = slice(None)
) -> dict[str, float]:
    """Compare two labellings of the same images.

    Args:
        old: int (n,), -1 is an outlier. selection: which n of the N labels of `new` belong to those images.

    Returns:
        churn: 1 - adjusted Rand index (Hubert and Arabie, Comparing Partitions, 1985) over the images that
            are in a cluster in both: 0 for equal clusters, about 1 for unrelated ones; left out if there are
            fewer than two such images.
        outlier_churn: share of images that are an outlier in exactly one of the two.
    """
    ids = new.ids[selection]
    in_both, unchanged = (old >= 0) & (ids >= 0), (old >= 0) == (ids >= 0)
    churn = {}
    if in_both.sum() > 1:
        from sklearn.metrics import adjusted_rand_score  # slow to import, and of no use before an epoch's end

        churn["churn"] = 1.0 - float(adjusted_rand_score(old[in_both], ids[in_both]))
    churn["outlier_churn"] = float((~unchanged).mean()) if len(ids) else 0.0
    return churn
