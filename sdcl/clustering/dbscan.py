"""DBSCAN on the sparse Jaccard distance, and the value it makes: PseudoLabels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import torch.nn.functional as F
from sklearn.cluster import DBSCAN
from torch import Tensor

from sdcl.clustering.jaccard import jaccard_distance

OUTLIER = -1


@dataclass(frozen=True)
class PseudoLabels:
    """Cluster of every image of one modality.

    Args:
        ids: int64 (N,), 0 .. num_clusters - 1, or -1 for an outlier.
        num_clusters: clusters that the ids may name; one of them can be empty after a relabelling.
    """

    ids: np.ndarray
    num_clusters: int

    @property
    def outliers(self) -> int:
        return int((self.ids == OUTLIER).sum())

    @property
    def occupied(self) -> int:
        """Clusters with at least one image."""
        return len(np.unique(self.ids[self.ids != OUTLIER]))


def dbscan(distance: sp.csr_array, eps: float, min_samples: int = 4) -> PseudoLabels:
    """DBSCAN on a sparse distance whose missing entries are 1.

    eps is inclusive and an image counts among its own neighbours. Clusters are numbered by their first core image;
    a border image goes to the lowest-numbered cluster that reaches it (scikit-learn's meaning).

    Raises:
        ValueError: eps is outside (0, 1): at 1 every pair would be neighbours.
    """
    if not 0 < eps < 1:
        raise ValueError(f"--eps must lie between 0 and 1 (Jaccard distance), got {eps}")
    near = distance.data <= eps
    rows = np.repeat(np.arange(distance.shape[0]), np.diff(distance.indptr))[near]
    order = np.lexsort((distance.data[near], rows))  # scikit-learn wants each row sorted by distance
    indptr = np.searchsorted(rows, np.arange(distance.shape[0] + 1))
    graph = sp.csr_matrix((distance.data[near][order], distance.indices[near][order], indptr), shape=distance.shape)
    ids = DBSCAN(eps=eps, min_samples=min_samples, metric="precomputed").fit(graph).labels_.astype(np.int64)
    return PseudoLabels(ids, int(ids.max(initial=OUTLIER)) + 1)


def pseudo_labels(
    features: Tensor, *, k1: int = 30, k2: int = 6, eps: float, min_samples: int = 4, backend: str = "torch", normalize: bool = True
) -> PseudoLabels:
    """Pseudo-labels of a set of images from features (N, D): k-reciprocal Jaccard distance, DBSCAN.

    Args:
        normalize: bring the rows to unit length first; off for what GUR clusters, which is not of unit length on purpose.
    """
    features = F.normalize(features.float()) if normalize else features.float()
    return dbscan(jaccard_distance(features, k1, k2, backend=backend), eps, min_samples)
