"""DBSCAN on the sparse k-reciprocal Jaccard distance."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
import torch.nn.functional as F
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from sdcl.clustering.jaccard import near_pairs
from sdcl.clustering.labels import OUTLIER, PseudoLabels
from sdcl.runtime.validation import as_features


def dbscan(distance: sp.csr_array | np.ndarray, eps: float, min_samples: int = 4) -> PseudoLabels:
    """DBSCAN on a symmetric Jaccard distance (N, N): dense, or sparse with missing entries that are 1.

    eps is inclusive and an image counts among its own neighbours. Clusters are numbered by their first core image;
    a border image goes to the lowest-numbered cluster that reaches it (scikit-learn's meaning).

    Raises:
        ValueError: eps is outside (0, 1): at 1 every pair would be neighbours; or the matrix is not square.
    """
    _check_eps(eps)
    if len(distance.shape) != 2 or distance.shape[0] != distance.shape[1]:
        raise ValueError(f"distance must be an (N, N) matrix, got shape {tuple(distance.shape)}")
    if not sp.issparse(distance):
        distance = np.asarray(distance)
        return grow(len(distance), *np.nonzero(np.triu(distance <= eps, 1)), min_samples)
    rows = np.repeat(np.arange(distance.shape[0]), np.diff(distance.indptr))
    near = (distance.data <= eps) & (rows < distance.indices)
    return grow(distance.shape[0], rows[near], distance.indices[near], min_samples)


def _check_eps(eps: float) -> None:
    if not 0 < eps < 1:
        raise ValueError(f"--eps must lie between 0 and 1 (Jaccard distance), got {eps}")


def grow(count: int, first: np.ndarray, second: np.ndarray, min_samples: int) -> PseudoLabels:
    """DBSCAN of `count` images from their near pairs first[p] < second[p] (P,): components of core images, then borders."""
    neighbors = 1 + np.bincount(first, minlength=count) + np.bincount(second, minlength=count)  # with the image itself
    core = neighbors >= min_samples
    joined = core[first] & core[second]
    graph = sp.coo_array((joined[joined], (first[joined], second[joined])), shape=(count, count))
    component = connected_components(graph, directed=False)[1][core]
    _, begin, member = np.unique(component, return_index=True, return_inverse=True)
    ids = np.full(count, OUTLIER, np.int64)
    ids[core] = np.argsort(np.argsort(begin))[member]  # numbered by the first core image
    reached = core[first] != core[second]
    border = np.where(core[first], second, first)[reached]
    cluster = ids[np.where(core[first], first, second)[reached]]
    lowest = np.full(count, len(begin), np.int64)
    np.minimum.at(lowest, border, cluster)
    ids[border] = lowest[border]
    return PseudoLabels(ids, len(begin))


def pseudo_labels(
    features: Tensor, *, k1: int = 30, k2: int = 6, eps: float, min_samples: int = 4, backend: str = "torch", normalize: bool = True
) -> PseudoLabels:
    """Pseudo-labels of a set of images from features (N, D): k-reciprocal Jaccard distance, DBSCAN.

    Args:
        normalize: bring the rows to unit length first; off for what GUR clusters, which is not of unit length on purpose.
    """
    features = as_features("features", features)
    features = F.normalize(features) if normalize else features
    _check_eps(eps)
    pairs = near_pairs(features, k1, k2, eps, backend=backend)
    found = grow(len(features), pairs.rows, pairs.columns, min_samples)
    return PseudoLabels(found.ids, found.num_clusters, eps)
