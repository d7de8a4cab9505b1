"""Ranks of the matches of every query on the host: compiled loops that sort nothing but the matches. Q queries, G gallery images."""

from __future__ import annotations

import numpy as np

from sdcl.runtime.numba_loops import compiled, in_blocks


def query_scores(
    similarity: np.ndarray, query_ids: np.ndarray, gallery_ids: np.ndarray, keep: np.ndarray, identity_of: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each valid query: CMC position of its first match (from 1), AP, INP. Equal similarities keep gallery order.

    Args:
        similarity: float (Q, G). query_ids, gallery_ids: (Q,), (G,).
        keep: bool (Q, G), which images a query sees; (0, 0): all of them.
        identity_of: int64 (G,) in 0..P-1 for a CMC over distinct identities; (0,): over images.
    """
    parts = in_blocks(_scores, len(similarity), similarity, query_ids, gallery_ids, keep, identity_of)
    return tuple(np.concatenate(column) for column in zip(*parts, strict=True))


@compiled
def _scores(first, last, similarity, query_ids, gallery_ids, keep, identity_of):
    gallery, people = similarity.shape[1], identity_of.max() + 1 if len(identity_of) else 0
    seen = np.full(people, -1, np.int64)  # the query that last saw an identity before its first match
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
        for place in range(matches):
            rank[place] = _rank(row, match[place])
        best = match[rank.argmin()]
        rank.sort()
        total = 0.0
        for place in range(matches):
            total += (place + 1) / rank[place]
        position[valid], precision[valid], penalty[valid] = rank[0], total / matches, matches / rank[-1]
        if people:
            position[valid] = 1 + _identities_before(row, best, identity_of, seen, query)
        valid += 1
    return position[:valid].copy(), precision[:valid].copy(), penalty[:valid].copy()


@compiled
def _rank(row, image):
    """Rank of an image from 1: those above it, and its equals that stand before it."""
    value, above, equal = row[image], 0, 0
    for other in range(len(row)):  # two counts without a branch: the compiler makes vector instructions of it
        above += row[other] > value
        equal += row[other] == value
    if equal > 1:
        for other in range(image):
            above += row[other] == value
    return above + 1


@compiled
def _identities_before(row, image, identity_of, seen, query):
    """How many identities have an image that ranks before this one."""
    count = 0
    for other in range(len(row)):
        if (row[other] > row[image] or (row[other] == row[image] and other < image)) and seen[identity_of[other]] != query:
            seen[identity_of[other]] = query
            count += 1
    return count
