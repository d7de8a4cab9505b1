"""Label transfer by thresholded similarity to the centroids of the other modality (HIL, arXiv 2509.11587).

Nq queries (visible), Nk keys (infrared), C key clusters, D dimensions.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sdcl.association.ranking import CHUNK
from sdcl.memory import centroids
from sdcl.runtime.validation import as_labels


@torch.no_grad()
def transfer_labels(
    queries: dict[str, Tensor],
    keys: dict[str, Tensor],
    query_labels: np.ndarray,
    key_labels: np.ndarray,
    threshold: float = 0.5,
) -> np.ndarray:
    """The key cluster whose centroid is most similar to a query, if nearly as similar as that centroid's best query.

    Raw features of the branches side by side; a centroid is the mean of its cluster's; similarity is the cosine. A query takes the
    label c of its most similar centroid if it reaches `threshold` times the largest similarity of centroid c with any query, of
    outliers too; else -1. Queries that are outliers themselves stay -1.

    Args:
        queries, keys: branch -> (Nq, D), (Nk, D), any norm: of weight in the concatenation and in the mean.
        query_labels: int (Nq,), only -1 matters. key_labels: int (Nk,) with -1.

    Returns:
        int64 (Nq,) labels in the key label space, with -1.

    Raises:
        ValueError: no key has a cluster, or not every image has one label or -1.
    """
    images, other = (torch.cat([f.float() for f in features.values()], 1) for features in (queries, keys))
    own = as_labels("query_labels", query_labels, len(images))
    rows = centroids(other, key_labels)  # (C, D)
    names = torch.as_tensor(np.unique(key_labels[key_labels >= 0]), device=rows.device)
    best, nearest, top = [], [], torch.full((len(rows),), -torch.inf, device=rows.device)
    for part in images.split(CHUNK):
        cosine = F.normalize(part) @ rows.T  # (c, C)
        top = torch.maximum(top, cosine.amax(0))
        largest = cosine.max(1)
        best.append(largest.values)
        nearest.append(largest.indices)
    similarity, cluster = torch.cat(best), torch.cat(nearest)
    taken = (similarity >= threshold * top[cluster]) & torch.as_tensor(own >= 0, device=rows.device)
    return torch.where(taken, names[cluster], -1).cpu().numpy()
