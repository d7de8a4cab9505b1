"""Collaborative ranking association (CRA, SDCL, CVPR 2024): label images of one modality from rank lists in the other.

Nq queries (visible), Nk keys (infrared), K list length, C key clusters. Chunked: nothing Nq x Nk is held.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sdcl.runtime.validation import as_features, as_labels, at_least_one

CHUNK = 1024


@torch.no_grad()
def collaborative_ranking(queries: dict[str, Tensor], keys: dict[str, Tensor], key_labels: np.ndarray, k: int = 20) -> np.ndarray:
    """The key label on which a query's deep and shallow rank lists agree most.

    Of the labels of the K nearest keys in the first branch, the one that occurs most often among the labels of the
    K nearest keys in the second. -1 (outlier) takes part as a label. Where several are equally frequent the released
    code leaves the choice to the backend; here the best-ranked in the first branch wins.

    Args:
        queries, keys: branch -> (Nq, D), (Nk, D), any norm; one or two branches (one: the list meets itself).
        key_labels: int (Nk,) with -1.

    Returns:
        int64 (Nq,) labels in the key label space, -1 included.

    Raises:
        ValueError: no key, not one label for each, or k below 1.
    """
    at_least_one(k=k)
    branches = list(queries)
    first, second = branches[0], branches[-1]
    units = {b: F.normalize(as_features("keys", keys[b])) for b in branches}
    labels = torch.as_tensor(as_labels("key_labels", key_labels, len(units[first])), device=units[first].device)
    k = min(k, len(labels))
    found = []
    for rows in torch.arange(len(queries[first]), device=labels.device).split(CHUNK):
        listed = {b: labels[_nearest(F.normalize(queries[b][rows].float()), units[b], k)] for b in branches}  # (c, K)
        votes = (listed[first][:, :, None] == listed[second][:, None, :]).sum(2)  # (c, K)
        best = torch.where(votes == votes.amax(1, keepdim=True), 1, 0).argmax(1, keepdim=True)  # first maximum
        found.append(listed[first].gather(1, best)[:, 0])
    return torch.cat(found).cpu().numpy()


@torch.no_grad()
def majority_of_neighbors(labels: np.ndarray, features: dict[str, Tensor], k: int = 5) -> np.ndarray:
    """Smooth labels by a vote of the K nearest images of the same modality, the image itself included.

    Similarity is the sum of the branches' cosines. Ties go to the smallest label, -1 being the smallest.

    Args:
        labels: int (N,) with -1. features: branch -> (N, D), any norm.
    """
    at_least_one(k=k)
    units = torch.cat([F.normalize(as_features("features", f)) for f in features.values()], dim=1)  # dot product = sum of the cosines
    classes = torch.as_tensor(as_labels("labels", labels, len(units)), device=units.device) + 1  # 0 is the outlier
    k = min(k, len(labels))
    found = []
    for rows in units.split(CHUNK):
        voters = classes[_nearest(rows, units, k)]  # (c, K)
        votes = torch.zeros(len(rows), int(classes.max()) + 1, dtype=torch.int32, device=units.device)
        votes.scatter_add_(1, voters, torch.ones_like(voters, dtype=torch.int32))
        found.append(torch.where(votes == votes.amax(1, keepdim=True), 1, 0).argmax(1))  # smallest label of the tied
    return torch.cat(found).cpu().numpy() - 1


def _nearest(queries: Tensor, keys: Tensor, k: int) -> Tensor:
    return (queries @ keys.T).topk(k, dim=1, sorted=True).indices
