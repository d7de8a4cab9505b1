"""How pseudo-labels compare with identities: for the log only. Nothing here returns anything that a run reads."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.metrics import adjusted_rand_score

from sdcl.clustering import LabelSet
from sdcl.datasets.sample import UNKNOWN, Sample


class Truth:
    """Identities and cameras of the training images, kept apart from training."""

    def __init__(self, samples: dict[str, list[Sample]]):
        self._identities = {m: np.array([s.identity for s in rows]) for m, rows in samples.items()}
        self._cameras = {m: np.array([s.camera for s in rows]) for m, rows in samples.items()}

    def describe(self, label_set: LabelSet) -> dict[str, Any]:
        """Counts, adjusted Rand index and purity of a set of labels, over the images that were clustered.

        Outliers count as clusters of one image for the adjusted Rand index and are left out of the purities. Where the identity of one
        of these images is unknown, the numbers that need identities are left out.
        """
        found, ids, rows = label_set.labels, label_set.ids, label_set.selection
        identities, cameras = self._identities[label_set.modality][rows], self._cameras[label_set.modality][rows]
        kept = ids >= 0
        alone = np.where(kept, ids, found.num_clusters + np.arange(len(ids)))
        by_identity = {} if (identities == UNKNOWN).any() else {
            "true_identities": len(np.unique(identities)),
            "ari": float(adjusted_rand_score(identities, alone)),
            "purity": purity(ids[kept], identities[kept]),
        }  # fmt: skip
        return {
            "clusters": found.occupied,
            "outliers": int((~kept).sum()),
            **({} if found.eps is None else {"eps": found.eps}),
            **by_identity,
            "camera_purity": purity(ids[kept], cameras[kept]),
        }


def purity(labels: np.ndarray, groups: np.ndarray) -> float:
    """Share of images whose group is the most frequent one of their cluster; 0 without images."""
    if len(labels) == 0:
        return 0.0
    rows, columns = np.unique(labels, return_inverse=True)[1], np.unique(groups, return_inverse=True)[1]
    table = np.zeros((rows.max() + 1, columns.max() + 1), np.int64)
    np.add.at(table, (rows, columns), 1)
    return float(table.max(1).sum() / len(labels))
