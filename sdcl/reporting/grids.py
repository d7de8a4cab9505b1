"""Ranked galleries and cluster sheets. Right and wrong are said by colour, by the kind of frame and by a symbol.

Q queries, G gallery images, N images, H height, W width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from markupsafe import Markup

from sdcl.reporting.html import joined
from sdcl.reporting.style import jpeg_uri

SHOWN = 10  # gallery images of a query
SHEET = 15  # images of a cluster


class Tile(NamedTuple):
    """One image with what is known of it.

    Args:
        image: uint8 (H, W, 3). right: its identity is the wanted one; None: nothing is wanted, as for a query.
        score: cosine similarity with the query, if there is one.
    """

    image: np.ndarray
    identity: int
    camera: int
    right: bool | None = None
    score: float | None = None


class Ranked(NamedTuple):
    """A query and the head of its ranked gallery."""

    why: str
    precision: float
    query: Tile
    gallery: list[Tile]


class Cluster(NamedTuple):
    """A cluster of the training images, and some of them."""

    why: str
    size: int
    identities: int
    purity: float
    cameras: list[int]
    tiles: list[Tile]


def average_precision(similarity: np.ndarray, match: np.ndarray, keep: np.ndarray) -> np.ndarray:
    """(Q,) average precision, NaN where the gallery holds no match.

    Args:
        similarity: (Q, G). match, keep: bool (Q, G), the identity is the query's; the protocol lets the query see the image.
    """
    order = np.argsort(-similarity, axis=1, kind="stable")
    kept = np.take_along_axis(keep, order, 1)
    hit = np.take_along_axis(match, order, 1) & kept
    rank = np.maximum(kept.cumsum(1), 1)  # (Q, G) from 1, among the kept
    count = hit.sum(1)
    return np.where(count > 0, (hit.cumsum(1) / rank * hit).sum(1) / np.maximum(count, 1), np.nan)


def best_median_worst(precision: np.ndarray) -> dict[str, int]:
    """Which rows of (Q,) to show; rows without a match are never shown."""
    order = np.argsort(precision, kind="stable")[: np.isfinite(precision).sum()]
    if not len(order):
        return {}
    return {"Best": int(order[-1]), "Median": int(order[(len(order) - 1) // 2]), "Worst": int(order[0])}


def notable_clusters(ids: np.ndarray, identities: np.ndarray, cameras: np.ndarray) -> dict[str, int]:
    """Why a cluster is worth seeing -> its number: the largest, the least pure, the most mixed over cameras. int (N,) each."""
    numbers = np.unique(ids[ids >= 0])
    if not len(numbers):
        return {}
    members = [ids == n for n in numbers]
    sizes = np.array([m.sum() for m in members])
    impure = [1 - share_of_most(identities[m]) for m in members]
    mixed = [_evenness(cameras[m]) for m in members]
    found: dict[str, int] = {}
    for why, order in (("Largest", sizes), ("Least pure", impure), ("Most mixed over cameras", mixed)):
        for place in np.lexsort((-sizes, -np.asarray(order))):  # of equals the larger
            if int(numbers[place]) not in found.values():
                found[why] = int(numbers[place])
                break
    return found


def share_of_most(values: np.ndarray) -> float:
    """Share of the most frequent value."""
    return float(np.unique(values, return_counts=True)[1].max() / len(values))


def ranked_html(title: str, said: str, rows: Sequence[Ranked]) -> Markup:
    """One direction: a strip per query."""
    strips = joined(
        _strip(
            f"{r.why} by average precision: {r.precision:.3f}",
            [_tile(r.query, "query", "Query")] + [_tile(t, "right" if t.right else "wrong", str(i)) for i, t in enumerate(r.gallery, 1)],
        )
        for r in rows
    )
    return Markup("<h3>{}</h3><p>{}</p>{}").format(title, said, strips)


def clusters_html(title: str, said: str, clusters: Sequence[Cluster]) -> Markup:
    strips = joined(
        _strip(
            f"{c.why}: {c.size} images of {c.identities} {'person' if c.identities == 1 else 'people'}, purity {c.purity:.2f}, "
            f"camera{'s' * (len(c.cameras) > 1)} {', '.join(map(str, c.cameras))}",
            [_tile(t, "right" if t.right else "wrong", "") for t in c.tiles],
        )
        for c in clusters
    )
    return Markup("<h3>{}</h3><p>{}</p>{}").format(title, said, strips)


def looks_html(rows: Sequence[tuple[str, Sequence[tuple[str, np.ndarray]]]]) -> Markup:
    """One image seen several ways: (what it is, [(caption, uint8 (H, W, 3)), ...]) each."""
    made = joined(
        _strip(name, [_plain_tile(image, caption, f"{caption} of {name}") for caption, image in pictures]) for name, pictures in rows
    )
    return Markup('<div class="looks">{}</div>').format(made)


def _strip(said: str, tiles: Sequence[Markup]) -> Markup:
    return Markup('<div class="row"><p>{}</p><div class="strip">{}</div></div>').format(said, joined(tiles))


def _tile(tile: Tile, kind: str, place: str) -> Markup:
    sign, word = {"right": ("✓", "same person"), "wrong": ("✗", "another person")}.get(kind, ("", ""))
    alt = ", ".join(p for p in (place, f"person {tile.identity}", f"camera {tile.camera}", word) if p)
    score = "" if tile.score is None else f"{tile.score:.2f}"
    return Markup(
        '<div class="tile {}"><img src="{}" alt="{}"><b>{}</b> <span>{}</span><br><span class="dim">id {}</span> <span class="dim">cam {}</span></div>'
    ).format(kind, jpeg_uri(tile.image), alt, f"{sign} {place}".strip(), score, tile.identity, tile.camera)


def _plain_tile(image: np.ndarray, caption: str, alt: str) -> Markup:
    return Markup('<div class="tile"><img src="{}" alt="{}"><span>{}</span></div>').format(jpeg_uri(image, 224), alt, caption)


def _evenness(values: np.ndarray) -> float:
    """Entropy in bits."""
    share = np.unique(values, return_counts=True)[1] / len(values)
    return float(-(share * np.log2(share)).sum())
