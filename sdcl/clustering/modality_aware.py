"""Modality-aware k-reciprocal Jaccard distance, exact and sparse, to cluster both modalities together.

Source: BMIL, AAAI 2026, https://arxiv.org/abs/2512.07760.

    nearest of each modality -> rank lists, half of each modality -> the steps of `jaccard.py` -> distances

The nearest images of an image are nearly all of its own modality, so that a common clustering would split
every person by modality. Here each rank list takes its entries in equal number from both modalities, and so
does the query expansion.

Images are stacked visible first. Nv and Nr images, N = Nv + Nr, D dimensions, K = k1 // 2 entries from each
modality.
"""

from __future__ import annotations

from dataclasses import replace

import scipy.sparse as sp
import torch
from torch import Tensor

from sdcl.clustering import modality_aware_cpu, modality_aware_gpu, neighbors_faiss
from sdcl.clustering.density import dbscan_of_pairs
from sdcl.clustering.jaccard import (
    distance_matrix,
    neighbor_weights,
    pair_distances,
    query_expansion,
    reciprocal_sets,
)
from sdcl.clustering.labels import PseudoLabels
from sdcl.clustering.neighbors import BACKENDS, MERGED_ROWS, exact_float32, strip_rows
from sdcl.clustering.sparse import NearPairs, SparseMatrix
from sdcl.runtime.errors import SettingError
from sdcl.runtime.validation import as_features, require_finite
from sdcl.runtime.work_sharing import Share, with_idle_ranks

Lists = tuple[Tensor, Tensor]  # similarity, descending, float32 (N, k); images, int64 (N, k)


def joint_pseudo_labels(
    visible: Tensor,
    infrared: Tensor,
    *,
    k1: int = 30,
    k2: int = 6,
    eps: float,
    min_samples: int = 4,
    backend: str = "torch",
    share: Share = with_idle_ranks,
) -> PseudoLabels:
    """Clusters of both modalities together: modality-aware Jaccard distance, DBSCAN.

    Args:
        visible: float32 (Nv, D). infrared: float32 (Nr, D). Compared by their dot products as they are.
        k1, k2, backend, share: see `modality_aware_distance`. eps, min_samples: see `sdcl.clustering.dbscan`.

    Returns:
        Labels of the N images, visible first.

    Raises:
        ValueError: features are not non-empty matrices: a modality without an image has no neighbours to
            offer.
        SettingError: eps, k1 or k2 out of range, or the backend is unknown or not installed.
        TrainingError: features are not finite.
    """
    if not 0 < eps < 1:
        raise SettingError(f"--eps must lie between 0 and 1 (Jaccard distance), got {eps}")
    pairs = modality_aware_pairs(visible, infrared, k1, k2, eps, backend=backend, share=share)
    count = len(visible) + len(infrared)
    return replace(dbscan_of_pairs(count, pairs.first, pairs.second, min_samples), eps=eps)


@torch.no_grad()
def modality_aware_distance(
    visible: Tensor,
    infrared: Tensor,
    k1: int = 30,
    k2: int = 6,
    *,
    backend: str = "torch",
    share: Share = with_idle_ranks,
) -> sp.csr_array:
    """Sparse modality-aware Jaccard distance between all images, visible first.

    As `jaccard_distance`, but for three rules of the released BMIL code: a rank list holds the k1 // 2
    visible and the k1 // 2 infrared images with the largest dot product, merged in descending order, and an
    image competes in it like any other; the half set cuts that merged list; the query expansion averages k2
    images of each modality with weight 1/2.

    Args:
        visible: float32 (Nv, D), any norm. infrared: float32 (Nr, D).
        k1: length of the merged rank lists, at least 2; an odd one loses its last entry. k2: images of each
            modality in the query expansion; 1 switches it off. Lists are shorter where a modality has fewer
            images.
        backend: as `nearest_neighbors`, by dot products; faiss has an index of each modality.
        share: who searches the neighbours: within `once` the waiting ranks take part.

    Returns:
        float32 (N, N) CSR, symmetric. Pairs that are not stored share no neighbour: their distance is exactly
        1.
    """
    return distance_matrix(joint_weights(visible, infrared, k1, k2, backend=backend, share=share))


def modality_aware_pairs(
    visible: Tensor,
    infrared: Tensor,
    k1: int,
    k2: int,
    eps: float,
    *,
    backend: str = "torch",
    share: Share = with_idle_ranks,
) -> NearPairs:
    """The pairs of `modality_aware_distance` that are at most eps apart, O(N k1) of them."""
    return pair_distances(joint_weights(visible, infrared, k1, k2, backend=backend, share=share), eps)


@torch.no_grad()
def joint_weights(
    visible: Tensor,
    infrared: Tensor,
    k1: int,
    k2: int,
    *,
    backend: str = "torch",
    share: Share = with_idle_ranks,
) -> SparseMatrix:
    """Expanded weights V of each image's neighbours, int32 in fixed point.

    A row sums to `sparse.ONE`, or to less where it averages rows of images that no image of their own list
    lists in turn: such rows are empty, and the distance of an image with an empty row is 1, even to itself.

    Raises:
        ValueError, SettingError, TrainingError: as `joint_pseudo_labels`.
    """
    if k1 < 2 or k2 < 1:
        raise SettingError(
            f"--k1 must be at least 2, an image of each modality, and --k2 at least 1, got {k1} and {k2}"
        )
    features = torch.cat((as_features("visible", visible), as_features("infrared", infrared)))
    require_finite(features)
    nearest = nearest_of_each_modality(features, len(visible), k1 // 2, backend=backend, share=share)
    similarity, images = (torch.cat(column, 1) for column in zip(*nearest))
    ranks = _best(similarity, images)[1]  # (N, 2K)
    weights = neighbor_weights(features, *reciprocal_sets(ranks, k1))
    averaged = ranks[:, :1] if k2 == 1 else _equally_often(*(images[:, :k2] for _, images in nearest))
    return query_expansion(weights, averaged)


def _equally_often(visible: Tensor, infrared: Tensor) -> Tensor:
    """Images whose weights are averaged, (N, a) and (N, b): side by side, repeated until each modality
    has half of the columns.
    """
    a, b = visible.shape[1], infrared.shape[1]
    return torch.cat((visible, infrared) if a == b else (visible.repeat(1, b), infrared.repeat(1, a)), 1)


# ------------------------------------------------------------------ search


@torch.no_grad()
def nearest_of_each_modality(
    features: Tensor,
    num_visible: int,
    k: int,
    *,
    backend: str = "torch",
    chunk: int | None = None,
    share: Share = with_idle_ranks,
) -> list[Lists]:
    """The k visible and the k infrared images with the largest dot product to each image; searched strip
    by strip.

    An image stands in the list of its modality only by its dot product with itself. Of equally similar images
    the first is listed.

    Args:
        features: float32 (N, D), visible first. num_visible: Nv. k: entries of a list, cut to the images of a
            modality.
        chunk: rows of the similarities held at once; None chooses them by the available memory. share: who
            computes the strips.

    Returns:
        The visible lists (N, min(k, Nv)) and the infrared ones (N, min(k, Nr)).

    Raises:
        SettingError: the backend is unknown or not installed.
    """
    if neighbors_faiss.is_faiss(backend):
        return _faiss_lists(features, num_visible, k, backend)
    if backend != "torch":
        raise SettingError(f"--knn must be one of {BACKENDS}, got {backend!r}")
    shards = share(partial_lists, features, num_visible, k, chunk or strip_rows(features))
    joined = [torch.cat(column, 1) for column in zip(*shards)]
    return [_best(joined[2 * m], joined[2 * m + 1], shards[0][2 * m].shape[1]) for m in (0, 1)]


def partial_lists(
    features: Tensor, num_visible: int, k: int, chunk: int, shard: int = 0, shards: int = 1
) -> tuple[Tensor, ...]:
    """Lists from one shard of the products, each computed once, above the diagonal, and offered to the
    lists of both images.

    Strips of `chunk` rows, none across the modalities, are dealt out in alternating order, so that all shards
    have about the same work.

    Returns:
        Similarity and images of the visible lists, then of the infrared ones; -infinity where nothing was
        offered.
    """
    count, device = len(features), features.device
    borders = [(0, num_visible), (num_visible, count)]  # first and last image of each modality
    sizes = [min(k, end - begin) for begin, end in borders]
    best = [torch.full((count, size), -torch.inf, device=device) for size in sizes]
    images = [torch.zeros(count, size, dtype=torch.long, device=device) for size in sizes]
    kernels = modality_aware_cpu if device.type == "cpu" else modality_aware_gpu
    strips = [
        (m, first, min(first + chunk, end))
        for m, (begin, end) in enumerate(borders)
        for first in range(begin, end, chunk)
    ]
    buffer = torch.empty(min(chunk, count) * count, device=device)  # paged in once
    with exact_float32(device):
        for number, (m, first, last) in enumerate(strips):
            if number % (2 * shards) not in (shard, 2 * shards - 1 - shard):
                continue
            width = count - first
            similarity = torch.mm(
                features[first:last], features[first:].T, out=buffer[: (last - first) * width].view(-1, width)
            )
            kernels.offer_to_columns(best[m][last:], images[m][last:], similarity[:, last - first :], first)
            for other, (begin, end) in enumerate(borders):
                begin = max(begin, first)
                if begin < end:
                    kernels.offer_to_rows(
                        best[other][first:last],
                        images[other][first:last],
                        similarity[:, begin - first : end - first],
                        begin,
                    )
    return best[0], images[0], best[1], images[1]


def _best(similarity: Tensor, images: Tensor, k: int | None = None) -> Lists:
    """The first k (None: all) of the candidates (N, c) of each list, by descending similarity, then by
    image.
    """
    parts = []
    for part, image in zip(similarity.split(MERGED_ROWS), images.split(MERGED_ROWS)):
        order = image.argsort(1)
        order = order.gather(1, part.gather(1, order).argsort(stable=True, dim=1, descending=True))[:, :k]
        parts.append((part.gather(1, order), image.gather(1, order)))
    best, ranks = (torch.cat(column) for column in zip(*parts))
    return best, ranks


def _faiss_lists(features: Tensor, num_visible: int, k: int, backend: str) -> list[Lists]:
    lists = []
    for first, last in ((0, num_visible), (num_visible, len(features))):
        images, size = features[first:last], min(k, last - first)
        similarity, nearest = neighbors_faiss.nearest(images, features, size, backend, inner_product=True)
        lists.append((similarity, nearest + first))
    return lists
