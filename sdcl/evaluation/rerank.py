"""k-reciprocal re-ranking of a gallery (Zhong et al., CVPR 2017, https://arxiv.org/abs/1701.08398).

    d* = (1 - lambda) d_J + lambda d / max d        (section 3.5)

d_J is the Jaccard distance of k-reciprocal sets, d the squared Euclidean distance of unit rows, and max d the
largest distance of one image to any other. Queries and gallery are ranked as one set of images, so a distance
depends on all other images: re-ranked distances of two searches cannot be compared. Neighbour sets are those
of `sdcl.clustering`; nothing N x N is ever dense, only the (Q, G) result.

Legend: Q queries, G gallery images, N = Q + G images, D dimensions, E members of all sets.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from sdcl.clustering.jaccard import reciprocal_sets
from sdcl.clustering.neighbors import exact_float32, rank_lists
from sdcl.runtime.work_sharing import alone

STRIP = 512  # rows of the product matrix held at once


class Rerank(NamedTuple):
    """Settings of the re-ranking, with the values of the paper.

    Args:
        k1: length of the rank lists, the image itself not counted.
        k2: images averaged by the local query expansion, the image itself counted; 1 switches it off.
        distance_weight: lambda, the weight of the original distance, 0 to 1.
    """

    k1: int = 20
    k2: int = 6
    distance_weight: float = 0.3

    @property
    def title(self) -> str:
        """Name for results tables."""
        return f"k-reciprocal re-ranking (k1 {self.k1}, k2 {self.k2}, lambda {self.distance_weight:g})"


def rerank(query: Tensor, gallery: Tensor, settings: Rerank | None = None) -> Tensor:
    """Re-ranked distances, smaller is nearer.

    Args:
        query, gallery: unit rows float32 (Q, D) and (G, D), on one device.
        settings: k1, k2 and lambda; None stands for the values of the paper.

    Returns:
        float32 (Q, G) within [0, 1], on the device of the query.

    Raises:
        ValueError: no rows, rows of different widths, or settings out of range.
        TrainingError: rows that are not finite.
    """
    settings = settings or Rerank()
    if settings.k1 < 1 or settings.k2 < 1 or not 0 <= settings.distance_weight <= 1:
        raise ValueError(f"k1 and k2 must be at least 1 and lambda between 0 and 1, got {settings}")
    shapes = tuple(query.shape), tuple(gallery.shape)
    if (
        query.ndim != 2
        or gallery.ndim != 2
        or shapes[0][1] != shapes[1][1]
        or 0 in (len(query), len(gallery))
    ):
        raise ValueError(f"re-ranking needs rows (Q, D) and (G, D), got {shapes[0]} and {shapes[1]}")
    images = torch.cat([query, gallery]).float()  # (N, D)
    ranks = rank_lists(images, settings.k1 + 1, share=alone)  # (N, k1 + 1), itself first
    start, columns = (t.cpu().numpy() for t in reciprocal_sets(ranks, settings.k1))
    rows = np.repeat(np.arange(len(images)), np.diff(start))  # (E,)
    distance, largest = _member_distances(images, rows * len(images) + columns)
    weights = _weights(rows, columns, distance / largest[rows], len(images))
    weights = _expanded(weights, ranks[:, : settings.k2].cpu().numpy())
    return _mixed(query, gallery, weights, largest, settings).to(query.device)


def _member_distances(images: Tensor, cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Squared distances at the cells row * N + column of the members, and from each image to the farthest.

    -> float64 (E,) and (N,); where all images are alike every distance is 0, and the farthest counts as 1.
    """
    count = len(images)
    near, far = [], []
    for first in range(0, count, STRIP):
        part = _squared(images[first : first + STRIP], images)  # (s, N)
        span = slice(*np.searchsorted(cells, (first * count, (first + STRIP) * count)))
        offset = torch.as_tensor(cells[span] - first * count, device=images.device)
        near.append(part.flatten()[offset].cpu())
        far.append(part.amax(1).cpu())
    farthest = torch.cat(far).double().numpy()
    return torch.cat(near).double().numpy(), np.where(farthest > 0, farthest, 1.0)


def _squared(rows: Tensor, columns: Tensor) -> Tensor:
    """2 - 2 x.y of unit rows (s, D) and (n, D), in full float32. -> (s, n)"""
    with exact_float32(rows.device):
        return (2 - 2 * rows @ columns.T).clamp_min(0)


def _weights(rows: np.ndarray, columns: np.ndarray, distance: np.ndarray, count: int) -> sp.csr_array:
    """Rows of exp(-distance) over each image's set, summing to 1. -> float64 (N, N)"""
    value = np.exp(-distance)
    total = np.bincount(rows, value, count)
    return sp.csr_array((value / total[rows], (rows, columns)), shape=(count, count))


def _expanded(weights: sp.csr_array, nearest: np.ndarray) -> sp.csr_array:
    """Mean of the rows of the nearest (N, k2): the local query expansion, section 3.4."""
    count, k2 = nearest.shape
    entries = np.full(nearest.size, 1 / k2), (np.repeat(np.arange(count), k2), nearest.ravel())
    return (sp.csr_array(entries, shape=(count, count)) @ weights).tocsr()


def _mixed(
    query: Tensor, gallery: Tensor, weights: sp.csr_array, largest: np.ndarray, settings: Rerank
) -> Tensor:
    """(1 - lambda) Jaccard + lambda scaled distance. -> float32 (Q, G) on the CPU."""
    query_weights, gallery_weights = weights[: len(query)].tocsr(), weights[len(query) :].tocsc()
    result = torch.empty(len(query), len(gallery))
    for first in range(0, len(query), STRIP):
        squared = _squared(query[first : first + STRIP].float(), gallery.float())  # (s, G)
        for row, distance in enumerate(squared.cpu().double().numpy(), first):
            overlap = _overlap(query_weights, gallery_weights, row)  # (G,)
            jaccard = 1 - overlap / (2 - overlap)
            weight = settings.distance_weight
            result[row] = torch.from_numpy((1 - weight) * jaccard + weight * distance / largest[row])
    return result


def _overlap(query_weights: sp.csr_array, gallery_weights: sp.csc_array, row: int) -> np.ndarray:
    """sum_l min(V_row,l, V_g,l) for every gallery image g. -> float64 (G,)"""
    span = slice(query_weights.indptr[row], query_weights.indptr[row + 1])
    columns, values = query_weights.indices[span], query_weights.data[span]
    start, size = gallery_weights.indptr[columns], np.diff(gallery_weights.indptr)[columns]
    entry = np.repeat(start - size.cumsum() + size, size) + np.arange(size.sum())
    minimum = np.minimum(np.repeat(values, size), gallery_weights.data[entry])
    return np.bincount(gallery_weights.indices[entry], minimum, gallery_weights.shape[0])
