"""Pseudo-labels of images, and label sets that carry their modality for logs and reports.

Legend: N images of one modality, n of them clustered.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

OUTLIER = -1


@dataclass(frozen=True)
class PseudoLabels:
    """Cluster of every image.

    Args:
        ids: int64 (N,), 0 .. num_clusters - 1, or -1 for an outlier.
        num_clusters: size of the label space; a cluster can be empty when labels come from the other
            modality.
        eps: radius of the DBSCAN that made them, a Jaccard distance; None for labels from elsewhere.
    """

    ids: np.ndarray
    num_clusters: int
    eps: float | None = None

    @property
    def outliers(self) -> int:
        """Number of images without a cluster, N at most."""
        return int((self.ids == OUTLIER).sum())

    @property
    def occupied(self) -> int:
        """Number of clusters with at least one image."""
        return len(np.unique(self.ids[self.ids != OUTLIER]))


@dataclass(frozen=True)
class LabelSet:
    """Pseudo-labels of one modality under the name that logs and reports use.

    For display only: training reads `Stage.labels`.

    Args:
        name: unique within an epoch, such as "visible", "visible_associated" or "infrared_camera_3".
        modality: "visible" or "infrared", whose training images the labels belong to.
        labels: of all N training images of the modality.
        rows: int (n,), the images that were clustered; None: all of them. The others are outliers by
            construction.
        identities_of: modality whose numbered identities (--labels) the labels are, so that the log can say
            how many are right; "": they are clusters.
        shared_with: name of the other modality's set whose label numbers these are: equal numbers link
            images of both; "": numbered apart.
    """

    name: str
    modality: str
    labels: PseudoLabels
    rows: np.ndarray | None = None
    identities_of: str = ""
    shared_with: str = ""

    @property
    def selection(self) -> slice | np.ndarray:
        """Index of the images that were clustered."""
        return slice(None) if self.rows is None else self.rows

    @property
    def ids(self) -> np.ndarray:
        """Cluster of each image that was clustered, int64 (n,)."""
        return self.labels.ids[self.selection]
