"""Agreement of pseudo-labels with identities and cameras, for the log only.

N images of a modality, n of them clustered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sdcl.clustering import LabelSet
from sdcl.datasets.sample import UNKNOWN, Sample


class LabelQuality:
    """Identities and cameras of the training images, apart from training: only numbers for the log leave it.

    Args:
        samples: modality -> N training samples.
    """

    def __init__(self, samples: Mapping[str, Sequence[Sample]]):
        self._identities = {
            m: np.array([s.identity for s in of_modality]) for m, of_modality in samples.items()
        }
        self._cameras = {m: np.array([s.camera for s in of_modality]) for m, of_modality in samples.items()}

    def describe(self, label_set: LabelSet) -> dict[str, Any]:
        """Counts, adjusted Rand index and purities of a label set, over the images that were clustered.

        Outliers count as clusters of one image in the adjusted Rand index, and are left out of the purities.

        Returns:
            clusters, outliers: counts. eps: DBSCAN's radius, where it made the labels.
            true_identities: number of people. ari: adjusted Rand index with the identities (Hubert and
                Arabie, Comparing Partitions, 1985). purity: `purity` of the identities. These three only if
                the identity of every one of the images is known, as for the next.
            right: share of the labelled images whose label is their identity; only of labels that are
                identities.
            camera_purity: `purity` of the cameras; high where clusters are cameras.
        """
        labels, ids, selection = label_set.labels, label_set.ids, label_set.selection
        identities = self._identities[label_set.modality][selection]
        cameras = self._cameras[label_set.modality][selection]
        kept = ids >= 0
        summary: dict[str, Any] = {"clusters": labels.occupied, "outliers": int((~kept).sum())}
        if labels.eps is not None:
            summary["eps"] = labels.eps
        if not (identities == UNKNOWN).any():
            from sklearn.metrics import adjusted_rand_score  # slow to import, of no use before an epoch's end

            # a cluster for each outlier
            single = np.where(kept, ids, labels.num_clusters + np.arange(len(ids)))
            summary |= {
                "true_identities": len(np.unique(identities)),
                "ari": float(adjusted_rand_score(identities, single)),
                "purity": purity(ids[kept], identities[kept]),
            }
            if label_set.identities_of:
                named = np.unique(self._identities[label_set.identities_of])[ids[kept]]
                summary["right"] = float((named == identities[kept]).mean()) if kept.any() else 0.0
        summary["camera_purity"] = purity(ids[kept], cameras[kept])
        return summary


def purity(labels: np.ndarray, groups: np.ndarray) -> float:
    """Share of images whose group is the most frequent one of their cluster; 0 without images.

    Args:
        labels: int (n,), cluster of each image. groups: int (n,), such as its identity or its camera.
    """
    if len(labels) == 0:
        return 0.0
    clusters, columns = np.unique(labels, return_inverse=True)[1], np.unique(groups, return_inverse=True)[1]
    counts = np.zeros((clusters.max() + 1, columns.max() + 1), np.int64)
    np.add.at(counts, (clusters, columns), 1)
    return float(counts.max(1).sum() / len(labels))
