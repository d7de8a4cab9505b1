"""Scores of queries against a ranked gallery as compiled loops, for similarities on the CPU.

Nothing but the matches of a query is sorted. ranking_gpu.py does the same in PyTorch.

Legend: q queries of a chunk, v of them valid, G gallery images, P gallery identities.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from sdcl.runtime.numba_loops import compiled, in_blocks


def query_scores(
    similarity: Tensor,
    query_ids: Tensor,
    gallery_ids: Tensor,
    keep: Tensor | None,
    identity_index: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Scores of the valid queries of a chunk; equal similarities keep gallery order.

    Args:
        similarity: float (q, G), finite. query_ids, gallery_ids: (q,), (G,).
        keep: bool (q, G), whether a query sees an image; None: all of them.
        identity_index: int64 (G,) in 0..P-1 for a CMC over distinct identities; None: over images.

    Returns:
        CMC position of the first match, from 1, int64 (v,); AP and INP, float64 (v,).
    """
    values = similarity if similarity.dtype == torch.float64 else similarity.float()
    keep = torch.zeros(0, 0, dtype=torch.bool) if keep is None else keep.expand(len(values), -1)
    identity_index = torch.zeros(0, dtype=torch.long) if identity_index is None else identity_index
    arrays = (t.contiguous().numpy() for t in (values, query_ids, gallery_ids, keep, identity_index))
    blocks = in_blocks(_scores, len(values), *arrays)
    position, precision, penalty = (
        torch.from_numpy(np.concatenate(column)) for column in zip(*blocks, strict=True)
    )
    return position, precision, penalty


@compiled
def _scores(first, last, similarity, query_ids, gallery_ids, keep, identity_index):
    """Scores of the valid queries of a block; keep (0, 0) and identity_index (0,) stand for None."""
    gallery, identities = similarity.shape[1], identity_index.max() + 1 if len(identity_index) else 0
    seen = np.full(identities, -1, np.int64)  # the last query that met an identity before its first match
    row, match = np.empty(gallery, similarity.dtype), np.empty(gallery, np.int64)
    position = np.empty(last - first, np.int64)
    precision, penalty = np.empty(last - first, np.float64), np.empty(last - first, np.float64)
    valid = 0
    for query in range(first, last):
        row[:] = similarity[query]
        if keep.size:
            for image in range(gallery):
                if not keep[query, image]:
                    row[image] = -np.inf  # behind all others, and no match: similarities are finite
        matches = 0
        for image in range(gallery):
            if gallery_ids[image] == query_ids[query] and row[image] > -np.inf:
                match[matches] = image
                matches += 1
        if matches == 0:
            continue
        rank = np.empty(matches, np.int64)
        for index in range(matches):
            rank[index] = _rank(row, match[index])
        best = match[rank.argmin()]
        rank.sort()
        total = 0.0
        for index in range(matches):
            total += (index + 1) / rank[index]
        position[valid], precision[valid], penalty[valid] = rank[0], total / matches, matches / rank[-1]
        if identities:
            position[valid] = 1 + _identities_before(row, best, identity_index, seen, query)
        valid += 1
    return position[:valid].copy(), precision[:valid].copy(), penalty[:valid].copy()


@compiled
def _rank(row, image):
    """Rank of an image from 1: behind the images above it, and behind its equals of lower index."""
    value, above, equal = row[image], 0, 0
    for other in range(len(row)):  # two counts without a branch: the compiler makes vector instructions of it
        above += row[other] > value
        equal += row[other] == value
    if equal > 1:
        for other in range(image):
            above += row[other] == value
    return above + 1


@compiled
def _identities_before(row, image, identity_index, seen, query):
    """Number of identities with an image that ranks before this one."""
    count = 0
    for other in range(len(row)):
        before = row[other] > row[image] or (row[other] == row[image] and other < image)
        if before and seen[identity_index[other]] != query:
            seen[identity_index[other]] = query
            count += 1
    return count
