"""Several centres per cluster (HIL, arXiv 2509.11587): its mean, and the means of its parts drawn towards it. N images, D dimensions."""

from __future__ import annotations

import warnings

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor

from sdcl.runtime.validation import as_features, as_labels, at_least_one

WHOLE = -1  # group of the images whose cluster is not divided


def cluster_groups(features: Tensor, labels: np.ndarray, k: int) -> np.ndarray:
    """Divide every cluster of more than k images into k groups by k-means (10 initialisations, seed 0) of its raw features.

    A cluster with fewer than k different images stays whole.

    Args:
        features: (N, D), any norm. labels: int (N,) with -1. k: groups of a cluster.

    Returns:
        int64 (N,): group 0 .. k - 1 within the image's cluster; -1 where a cluster stays whole, and for outliers.
    """
    at_least_one(k=k)
    array = as_features("features", features).cpu().numpy()
    labels = as_labels("labels", labels, len(array))
    groups = np.full(len(array), WHOLE, np.int64)
    for label in np.unique(labels[labels >= 0]):
        members = np.flatnonzero(labels == label)
        if len(members) <= k:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", ConvergenceWarning
            )  # fewer different images than groups: told by the result
            parts = KMeans(k, n_init=10, random_state=0).fit(array[members]).labels_
        if len(np.unique(parts)) == k:
            groups[members] = parts
    return groups


@torch.no_grad()
def cluster_centres(
    features: Tensor, labels: np.ndarray, groups: np.ndarray, k: int, weight: float = 0.1
) -> Tensor:
    """Unit centres of each cluster: row 0 the mean m of its features, row 1 + g the point (1 - weight) m + weight m_g.

    m_g is the mean of group g; the rows of a cluster that stays whole are all m. Only the result is brought to unit length.

    Args:
        features: (N, D), any norm. labels: int (N,) with -1; centres r belong to the r-th smallest label that occurs.
        groups: int (N,) of `cluster_groups` with the same k.

    Returns:
        (C, 1 + k, D) on the device of the features.
    """
    features = as_features("features", features)
    labels = as_labels("labels", labels, len(features))
    groups = as_labels("groups", groups, len(features))
    known, rank = np.unique(labels[labels >= 0], return_inverse=True)
    members = features[torch.as_tensor(np.flatnonzero(labels >= 0), device=features.device)]
    mean = _means(members, rank, len(known))[:, None]  # (C, 1, D)
    divided = groups[labels >= 0] >= 0
    cells = rank[divided] * k + groups[labels >= 0][divided]
    parts = _means(members[torch.as_tensor(divided, device=features.device)], cells, len(known) * k).view(
        len(known), k, -1
    )
    whole = torch.ones(len(known), dtype=torch.bool, device=features.device)
    whole[torch.as_tensor(np.unique(rank[divided]), device=features.device)] = False
    parts = torch.where(whole[:, None, None], mean, parts)
    return F.normalize(torch.cat((mean, (1 - weight) * mean + weight * parts), 1), dim=2)


def _means(features: Tensor, cells: np.ndarray, count: int) -> Tensor:
    """Mean (count, D) of the features in each cell; 0 where there is none."""
    index = torch.as_tensor(cells, device=features.device)
    total = torch.zeros(count, features.shape[1], dtype=features.dtype, device=features.device).index_add_(
        0, index, features
    )
    return total / torch.bincount(index, minlength=count).clamp_min(1)[:, None]
