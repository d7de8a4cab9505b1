"""One-to-one matching of clusters across modalities (progressive graph matching, PGM, CVPR 2023).

Cv, Cr clusters, D dimensions.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from sdcl.runtime.validation import as_features, as_labels

UNMATCHED = -1


class ClusterMatching(NamedTuple):
    """Partners of the clusters; not the inverse of one another, since a cluster can be the partner of two.

    Args:
        to_infrared: int64 (Cv,), infrared partner of each visible cluster, -1 for none. to_visible: int64
            (Cr,), the reverse.
    """

    to_infrared: np.ndarray
    to_visible: np.ndarray


def match_clusters(visible: Tensor, infrared: Tensor) -> ClusterMatching:
    """Match every cluster of the smaller side, then what is left of the larger side once more.

    The matching has the least total cost exp(-s), s the cosine of two centroids (Hungarian algorithm). The
    clusters of the larger side that it leaves over are matched one-to-one with all clusters of the smaller
    side again, which keep their first partner. Of more than twice as many clusters as on the other side, the
    dearest stay without a partner; the released code gives the wrong partners there, and then stops.

    Args:
        visible: (Cv, D) centroids, any norm. infrared: (Cr, D).
    """
    visible, infrared = (
        F.normalize(as_features(name, rows).double())
        for name, rows in (("visible", visible), ("infrared", infrared))
    )
    cost = torch.exp(-visible @ infrared.T).cpu().numpy()  # (Cv, Cr)
    to_infrared, to_visible = np.full(len(visible), UNMATCHED), np.full(len(infrared), UNMATCHED)
    rows, columns = linear_sum_assignment(cost)
    to_infrared[rows], to_visible[columns] = columns, rows
    for partners, priced in ((to_infrared, cost), (to_visible, cost.T)):
        left = np.flatnonzero(partners == UNMATCHED)
        chosen, columns = linear_sum_assignment(priced[left])
        partners[left[chosen]] = columns
    return ClusterMatching(to_infrared, to_visible)


def associate_with_identities(features: Tensor, ids: np.ndarray, identities: Tensor) -> np.ndarray:
    """Identity of each cluster of the other modality, -1 where the association is not trusted.

    Our reading of TAA (IEEE TIP 32, 2023), whose equations are not at hand:

    1. clusters and identities are matched one to one, with the least total cost exp(-s), s the cosine of
       their means (Hungarian algorithm); a cluster that is left over takes its nearest identity;
    2. a pair stays if each is the other's nearest, or if most images of the cluster, more than half, vote for
       the identity: it is their nearest one.

    Args:
        features: (N, D), any norm. ids: int (N,), clusters 0 .. C-1 that all occur, -1 for outliers.
        identities: (K, D), a mean each, any norm.

    Returns:
        int64 (C,).
    """
    rows, means = as_features("features", features).double(), as_features("identities", identities).double()
    ids = as_labels("ids", ids, len(rows))
    rows, ids = rows[torch.as_tensor(np.flatnonzero(ids >= 0), device=rows.device)], ids[ids >= 0]
    means = F.normalize(means)
    sums = torch.zeros(ids.max() + 1, rows.shape[1], dtype=rows.dtype, device=rows.device)
    sums.index_add_(0, torch.as_tensor(ids, device=rows.device), rows)
    similar = (F.normalize(sums) @ means.T).cpu().numpy()  # (C, K)
    nearest = similar.argmax(1)
    partners = nearest.copy()
    matched, identity = linear_sum_assignment(np.exp(-similar))
    partners[matched] = identity
    votes = np.zeros(similar.shape, np.int64)
    np.add.at(votes, (ids, (rows @ means.T).argmax(1).cpu().numpy()), 1)
    clusters = np.arange(len(partners))
    mutual = (nearest == partners) & (similar.argmax(0)[partners] == clusters)
    voted = 2 * votes[clusters, partners] > votes.sum(1)
    return np.where(mutual | voted, partners, UNMATCHED)
