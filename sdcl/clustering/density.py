"""DBSCAN on sparse Jaccard distances, and the pseudo-labels that follow from features.

Ester et al., A Density-Based Algorithm for Discovering Clusters, KDD 1996; the conventions are those of
scikit-learn (https://scikit-learn.org/stable/modules/generated/sklearn.cluster.DBSCAN.html).

Legend: N images, D dimensions, P pairs of near images.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import scipy.sparse as sp
import torch.nn.functional as F
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from sdcl.clustering.jaccard import near_pairs
from sdcl.clustering.labels import OUTLIER, PseudoLabels
from sdcl.runtime.errors import SettingError
from sdcl.runtime.validation import as_features, at_least_one
from sdcl.runtime.work_sharing import Share, with_idle_ranks


def pseudo_labels(
    features: Tensor,
    *,
    k1: int = 30,
    k2: int = 6,
    eps: float,
    min_samples: int = 4,
    backend: str = "torch",
    normalize: bool = True,
    share: Share = with_idle_ranks,
) -> PseudoLabels:
    """Pseudo-labels of a set of images: k-reciprocal Jaccard distance, then DBSCAN.

    Args:
        features: float32 (N, D).
        k1: length of the rank lists. k2: images averaged by the query expansion. See `jaccard_distance`.
        eps: radius of DBSCAN, a Jaccard distance between 0 and 1, inclusive.
        min_samples: images within `eps` of a core image, the image itself among them.
        backend: of the neighbour search, see `nearest_neighbors`.
        normalize: bring the features to unit length first; off for GUR's association embeddings, whose norms
            count.
        share: who searches the neighbours, see `nearest_neighbors`: within `once` the waiting ranks take
            part.

    Raises:
        ValueError: features are not a non-empty matrix, or min_samples is below 1.
        SettingError: eps, k1, k2 out of range, or the backend is unknown or not installed.
        TrainingError: features are not finite.
    """
    features = as_features("features", features)
    features = F.normalize(features) if normalize else features
    _check_eps(eps)
    pairs = near_pairs(features, k1, k2, eps, backend=backend, share=share)
    return replace(dbscan_of_pairs(len(features), pairs.first, pairs.second, min_samples), eps=eps)


def dbscan(distance: sp.csr_array | np.ndarray, eps: float, min_samples: int = 4) -> PseudoLabels:
    """DBSCAN on a symmetric Jaccard distance (N, N): dense, or sparse with missing entries that are 1.

    Clusters are numbered by their first core image; a border image goes to the lowest-numbered cluster that
    reaches it.

    Args:
        eps: radius, inclusive. min_samples: images within it of a core image, the image itself among them.

    Raises:
        ValueError: the matrix is not square or holds NaN, or min_samples is below 1.
        SettingError: eps is outside (0, 1): at 1 every pair would be neighbours.
    """
    _check_eps(eps)
    if len(distance.shape) != 2 or distance.shape[0] != distance.shape[1]:
        raise ValueError(f"distance must be an (N, N) matrix, got shape {tuple(distance.shape)}")
    if np.isnan(distance.data if sp.issparse(distance) else distance).any():
        raise ValueError("distance holds NaN")
    if not sp.issparse(distance):
        first, second = np.nonzero(np.triu(np.asarray(distance) <= eps, 1))
        return dbscan_of_pairs(distance.shape[0], first, second, min_samples)
    sparse = sp.csr_array(distance)
    rows = np.repeat(np.arange(len(sparse.indptr) - 1), np.diff(sparse.indptr))
    near = (sparse.data <= eps) & (rows < sparse.indices)
    return dbscan_of_pairs(len(sparse.indptr) - 1, rows[near], sparse.indices[near], min_samples)


def dbscan_of_pairs(count: int, first: np.ndarray, second: np.ndarray, min_samples: int) -> PseudoLabels:
    """DBSCAN from the edges of the neighbourhood graph.

    Clusters are the connected components of core images, to which border images are added.

    Args:
        count: number of images N.
        first, second: int (P,), the near pairs first[p] < second[p], each once.
        min_samples: see `dbscan`.

    Raises:
        ValueError: min_samples below 1.
    """
    at_least_one(min_samples=min_samples)
    # with the image itself
    neighbors = 1 + np.bincount(first, minlength=count) + np.bincount(second, minlength=count)
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


def _check_eps(eps: float) -> None:
    if not 0 < eps < 1:
        raise SettingError(f"--eps must lie between 0 and 1 (Jaccard distance), got {eps}")
