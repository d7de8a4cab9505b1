"""Ranked galleries and cluster sheets: the values that the page shows, and the choice of queries and clusters
worth showing.

Q queries, N images, H height, W width.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

GALLERY_IMAGES = 10  # shown of each ranked gallery
CLUSTER_IMAGES = 15  # shown of each cluster


class Tile(NamedTuple):
    """One image with its identity and camera.

    Args:
        pixels: uint8 (H, W, 3).
        correct: whether its identity is the one it is ranked or clustered with; None for a query.
        similarity: cosine similarity with the query, if there is one.
    """

    pixels: np.ndarray
    identity: int
    camera: int
    correct: bool | None = None
    similarity: float | None = None


class RankedQuery(NamedTuple):
    """A query with the first images of its ranked gallery. reason: why it is shown. precision: its
    average precision.
    """

    reason: str
    precision: float
    image: Tile
    gallery: list[Tile]


class Ranking(NamedTuple):
    """Some queries of one protocol."""

    title: str
    note: str
    queries: list[RankedQuery]


class Cluster(NamedTuple):
    """A cluster of training images and some of its images. reason: why it is shown."""

    reason: str
    size: int
    identities: int
    purity: float
    cameras: list[int]
    images: list[Tile]


def best_median_worst(precision: np.ndarray) -> dict[str, int]:
    """{reason: row} of the queries to show, from average precisions (Q,).

    Queries without a match (NaN) are never shown.
    """
    order = np.argsort(precision, kind="stable")[: np.isfinite(precision).sum()]
    if not len(order):
        return {}
    return {"Best": int(order[-1]), "Median": int(order[(len(order) - 1) // 2]), "Worst": int(order[0])}


def notable_clusters(ids: np.ndarray, identities: np.ndarray, cameras: np.ndarray) -> dict[str, int]:
    """{reason: label} of the clusters to show: the largest, the least pure, the most mixed over cameras.
    int (N,) each.
    """
    labels = np.unique(ids[ids >= 0])
    if not len(labels):
        return {}
    members = [ids == n for n in labels]
    sizes = np.array([m.sum() for m in members])
    impure = [1 - share_of_most(identities[m]) for m in members]
    mixed = [_evenness(cameras[m]) for m in members]
    chosen: dict[str, int] = {}
    for reason, order in (("Largest", sizes), ("Least pure", impure), ("Most mixed over cameras", mixed)):
        for index in np.lexsort((-sizes, -np.asarray(order))):  # of equal ones the larger
            if int(labels[index]) not in chosen.values():
                chosen[reason] = int(labels[index])
                break
    return chosen


def share_of_most(values: np.ndarray) -> float:
    """Share of the most frequent value."""
    return float(np.unique(values, return_counts=True)[1].max() / len(values))


def _evenness(values: np.ndarray) -> float:
    """Entropy in bits."""
    share = np.unique(values, return_counts=True)[1] / len(values)
    return float(-(share * np.log2(share)).sum())
