"""k-reciprocal re-ranking of a gallery for each query (Zhong et al., CVPR 2017).

    distance* = (1 - lambda) Jaccard distance of the k-reciprocal sets + lambda d / max d

d is the squared Euclidean distance of unit rows, and max d the largest of one image to any other. Queries and gallery are one set
of images here, so what an image is ranked at depends on all the others: re-ranked distances of two searches cannot be compared.
Neighbour sets are those of `sdcl.clustering`; nothing N x N is ever dense, only the (Q, G) result.

Q queries, G gallery images, N = Q + G, D dimensions, E members of all sets.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from sdcl.clustering.jaccard import reciprocal_sets
from sdcl.clustering.neighbors import exact_float32, rank_lists

STRIP = 512  # rows of the product matrix held at once


class Rerank(NamedTuple):
    """The paper's k1 (rank list, the image itself not counted), k2 (local query expansion, itself counted; 1: off) and lambda."""

    k1: int = 20
    k2: int = 6
    own: float = 0.3

    @property
    def title(self) -> str:
        """What a result that was re-ranked is called."""
        return f"k-reciprocal re-ranking (k1 {self.k1}, k2 {self.k2}, lambda {self.own:g})"


def rerank(query: Tensor, gallery: Tensor, how: Rerank | None = None) -> Tensor:
    """Re-ranked distances, smaller is nearer.

    Args:
        query, gallery: unit rows float32 (Q, D) and (G, D), on one device.
        how: the paper's numbers, if not `Rerank()`.

    Returns:
        float32 (Q, G) within [0, 1], on the device of the query.

    Raises:
        ValueError: no rows, rows that are not finite or not of one width, or numbers that cannot be.
    """
    how = how or Rerank()
    if how.k1 < 1 or how.k2 < 1 or not 0 <= how.own <= 1:
        raise ValueError(f"re-ranking needs k1 and k2 of at least 1 and lambda between 0 and 1, got {how}")
    if query.ndim != 2 or gallery.ndim != 2 or query.shape[1] != gallery.shape[1] or not len(query) or not len(gallery):
        raise ValueError(f"re-ranking needs rows (Q, D) and (G, D), got {tuple(query.shape)} and {tuple(gallery.shape)}")
    images = torch.cat([query, gallery]).float()  # (N, D)
    ranks = rank_lists(images, how.k1 + 1)  # (N, k1 + 1), itself first
    start, columns = (t.cpu().numpy() for t in reciprocal_sets(ranks, how.k1))
    members = np.repeat(np.arange(len(images)), np.diff(start)) * len(images) + columns  # (E,) row * N + column
    distance, largest = _member_distances(images, members)
    weights = _expanded(_weights(members, distance / largest[members // len(images)], len(images)), ranks[:, : how.k2].cpu().numpy())
    return _mixed(query, gallery, weights, largest, how).to(query.device)


def _member_distances(images: Tensor, members: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Squared distances float64 (E,) at the members, and (N,) from each image to the farthest one."""
    count = len(images)
    near, far = [], []
    for first in range(0, count, STRIP):
        part = _squared(images[first : first + STRIP], images)  # (s, N)
        span = slice(*np.searchsorted(members, (first * count, (first + STRIP) * count)))
        own = torch.as_tensor(members[span] - first * count, device=images.device)
        near.append(part.flatten()[own].cpu())
        far.append(part.amax(1).cpu())
    farthest = torch.cat(far).double().numpy()
    return torch.cat(near).double().numpy(), np.where(farthest > 0, farthest, 1.0)  # all images alike: every distance is 0


def _squared(rows: Tensor, columns: Tensor) -> Tensor:
    """2 - 2 x.y of unit rows (s, D) and (n, D), in full float32. -> (s, n)"""
    with exact_float32(rows.device):
        return (2 - 2 * rows @ columns.T).clamp_min(0)


def _weights(members: np.ndarray, distance: np.ndarray, count: int) -> sp.csr_array:
    """Rows of exp(-distance) over each image's set, summing to 1. -> float64 (N, N)"""
    value = np.exp(-distance)
    total = np.bincount(members // count, value, count)
    return sp.csr_array((value / total[members // count], (members // count, members % count)), shape=(count, count))


def _expanded(weights: sp.csr_array, nearest: np.ndarray) -> sp.csr_array:
    """Mean of the rows of the nearest (N, k2): the local query expansion."""
    count, k2 = nearest.shape
    chooser = sp.csr_array((np.full(nearest.size, 1 / k2), (np.repeat(np.arange(count), k2), nearest.ravel())), shape=(count, count))
    return (chooser @ weights).tocsr()


def _mixed(query: Tensor, gallery: Tensor, weights: sp.csr_array, largest: np.ndarray, how: Rerank) -> Tensor:
    """(1 - lambda) Jaccard + lambda scaled distance. -> float32 (Q, G) on the host."""
    wanted, listed = weights[: len(query)].tocsr(), weights[len(query) :].tocsc()
    result = torch.empty(len(query), len(gallery))
    for first in range(0, len(query), STRIP):
        plain = _squared(query[first : first + STRIP].float(), gallery.float()).cpu().double().numpy()  # (s, G)
        for row, own in enumerate(plain, first):
            shared = _shared(wanted, listed, row)  # (G,)
            jaccard = 1 - shared / (2 - shared)
            result[row] = torch.from_numpy((1 - how.own) * jaccard + how.own * own / largest[row])
    return result


def _shared(wanted: sp.csr_array, listed: sp.csc_array, row: int) -> np.ndarray:
    """sum_l min(V_row,l, V_g,l) for every gallery image g. -> float64 (G,)"""
    span = slice(wanted.indptr[row], wanted.indptr[row + 1])
    columns, values = wanted.indices[span], wanted.data[span]
    start, size = listed.indptr[columns], np.diff(listed.indptr)[columns]
    entry = np.repeat(start - size.cumsum() + size, size) + np.arange(size.sum())
    return np.bincount(listed.indices[entry], np.minimum(np.repeat(values, size), listed.data[entry]), listed.shape[0])
