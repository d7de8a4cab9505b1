"""How far an epoch's pseudo-labels are from those of the epoch before: for the log only, like `truth.py`. N images.

Label numbers mean nothing from one clustering to the next, so partitions are compared, never numbers.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from sklearn.metrics import adjusted_rand_score
from torch import Tensor

from sdcl.clustering import LabelSet, PseudoLabels


class Churn:
    """The labels of the last finished epoch by name, which go into its checkpoint; on the main process only."""

    def __init__(self):
        self.before: dict[str, np.ndarray] = {}

    def follow(self, label_sets: Iterable[LabelSet], labels: dict[str, dict[str, Any]]) -> None:
        """Add what changed to the epoch's `labels` of metrics.jsonl, and remember its labels. Of sets with the same name the last counts.

        A set that the epoch before did not have, or had for another number of images, has no churn.
        """
        found = {s.name: s for s in label_sets}
        for name, new in found.items():
            old = self.before.get(name)
            if old is not None and len(old) == len(new.labels.ids):
                labels[name] |= label_churn(old[new.selection], new.labels, new.selection)
        self.before = {name: new.labels.ids for name, new in found.items()}

    def state(self) -> dict[str, Tensor]:
        return {name: torch.from_numpy(ids.astype(np.int32)) for name, ids in self.before.items()}

    def load(self, state: dict[str, Tensor]) -> None:
        self.before = {name: ids.numpy().astype(np.int64) for name, ids in state.items()}


def label_churn(old: np.ndarray, new: PseudoLabels, rows: slice | np.ndarray = slice(None)) -> dict[str, float]:
    """What became of the labels of the same images.

    Args:
        old: int (n,), -1 is an outlier. rows: which n of the N labels of `new` those are.

    Returns:
        churn: 1 - adjusted Rand index (Hubert and Arabie, 1985) of both partitions of the images that are in a cluster both times: 0 for the
        same clusters, about 1 for unrelated ones; left out when there are fewer than two such images.
        outlier_churn: share of images that are an outlier in exactly one of the two.
    """
    now = new.ids[rows]
    inside, stayed = (old >= 0) & (now >= 0), (old >= 0) == (now >= 0)
    told = {"churn": 1.0 - float(adjusted_rand_score(old[inside], now[inside]))} if inside.sum() > 1 else {}
    return told | {"outlier_churn": float((~stayed).mean()) if len(now) else 0.0}
