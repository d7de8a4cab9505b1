"""Collaborative ranking association (CRA) of SDCL: labels by rank lists in the other modality.

Yang et al., Shallow-Deep Collaborative Learning, CVPR 2024; the address is in sdcl/methods/sdcl.py.

Legend: Nq queries (visible), Nk keys (infrared), N images, D dimensions, K list length. Work is chunked:
nothing Nq x Nk is held.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sdcl.runtime.validation import as_features, as_labels, at_least_one

CHUNK = 1024  # images


@torch.no_grad()
def collaborative_ranking(
    queries: dict[str, Tensor], keys: dict[str, Tensor], key_labels: np.ndarray, k: int = 20
) -> np.ndarray:
    """The key label on which a query's deep and shallow rank lists agree most.

    Of the labels of the K nearest keys in the first branch, the one that occurs most often among the labels
    of the K nearest keys in the second. -1 (outlier) takes part as a label. Where several are equally
    frequent the released code leaves the choice to the backend; here the best-ranked in the first branch
    wins.

    Args:
        queries, keys: branch -> (Nq, D), (Nk, D), any norm; two branches, or one, whose list is compared with
            itself.
        key_labels: int (Nk,), -1 being an outlier.
        k: list length K; cut to Nk.

    Returns:
        int64 (Nq,), labels of the key clusters or -1.

    Raises:
        ValueError: no key, not one label for each key, or k below 1.
    """
    at_least_one(k=k)
    branches = list(queries)
    first, second = branches[0], branches[-1]
    units = {b: F.normalize(as_features("keys", keys[b])) for b in branches}
    device, count = units[first].device, len(units[first])
    labels = torch.as_tensor(as_labels("key_labels", key_labels, count), device=device)
    k = min(k, count)
    chosen = []
    for chunk in torch.arange(len(queries[first]), device=labels.device).split(CHUNK):
        # (c, K)
        nearest = {b: _nearest(F.normalize(queries[b][chunk].float()), units[b], k) for b in branches}
        listed = {b: labels[nearest[b]] for b in branches}
        votes = (listed[first][:, :, None] == listed[second][:, None, :]).sum(2)  # (c, K)
        tied = torch.where(votes == votes.amax(1, keepdim=True), 1, 0)
        best = tied.argmax(1, keepdim=True)  # the first maximum
        chosen.append(listed[first].gather(1, best)[:, 0])
    return torch.cat(chosen).cpu().numpy()


@torch.no_grad()
def majority_of_neighbors(labels: np.ndarray, features: dict[str, Tensor], k: int = 5) -> np.ndarray:
    """Smooth labels by a majority vote of the K nearest images of the modality, the image itself included.

    Similarity is the sum of the cosines of all branches. Ties go to the smallest label, -1 being the
    smallest. Used by SDCL after CRA, and by GUR after CMLU.

    Args:
        labels: int (N,), -1 being an outlier.
        features: branch -> (N, D), any norm.
        k: number of voters K; cut to N.

    Returns:
        int64 (N,), labels or -1.

    Raises:
        ValueError: no image, not one label for each image, or k below 1.
    """
    at_least_one(k=k)
    # (N, branches * D), whose dot products are the sums of the cosines
    units = torch.cat([F.normalize(as_features("features", f)) for f in features.values()], dim=1)
    classes = torch.as_tensor(as_labels("labels", labels, len(units)), device=units.device) + 1  # 0: outlier
    k = min(k, len(labels))
    majority = []
    for chunk in units.split(CHUNK):
        voters = classes[_nearest(chunk, units, k)]  # (c, K)
        votes = torch.zeros(len(chunk), int(classes.max()) + 1, dtype=torch.int32, device=units.device)
        votes.scatter_add_(1, voters, torch.ones_like(voters, dtype=torch.int32))
        tied = torch.where(votes == votes.amax(1, keepdim=True), 1, 0)
        majority.append(tied.argmax(1))  # the smallest label
    return torch.cat(majority).cpu().numpy() - 1


def _nearest(queries: Tensor, keys: Tensor, k: int) -> Tensor:
    """Indexes of the k keys (n, D) with the largest dot products, best first. -> int64 (q, k)"""
    return (queries @ keys.T).topk(k, dim=1, sorted=True).indices
