"""One-to-one matching of clusters across modalities (progressive graph matching, PGM, CVPR 2023). Cv, Cr clusters, D dimensions."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from sdcl.runtime.validation import as_features

UNMATCHED = -1


class ClusterMatching(NamedTuple):
    """Partners of the clusters; not the inverse of one another, since a cluster can be the partner of two.

    Args:
        to_infrared: int64 (Cv,), infrared partner of each visible cluster, -1 for none. to_visible: int64 (Cr,), the reverse.
    """

    to_infrared: np.ndarray
    to_visible: np.ndarray


def match_clusters(visible: Tensor, infrared: Tensor) -> ClusterMatching:
    """Match every cluster of the smaller side, then what is left of the larger side once more.

    The matching has the least total cost exp(-s), s the cosine of two centroids (Hungarian algorithm). The clusters of the larger
    side that it leaves over are matched one-to-one with all clusters of the smaller side again, which keep their first partner. Of more
    than twice as many clusters as on the other side, the dearest stay without a partner; the released code gives the wrong partners
    there, and then stops.

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
