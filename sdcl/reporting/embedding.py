"""Charts of test features: maps in two dimensions, and histograms of the similarity of pairs.

N images, D dimensions.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.manifold import TSNE
from sklearn.metrics import roc_auc_score

from sdcl.reporting.html import Chart
from sdcl.reporting.style import COLOURS, MARKERS, PANEL, panel, png_uri, svg_uri

IDENTITIES, IMAGES_EACH = 12, 12  # in the maps; images of each identity in each modality
MOST_PAIRED = 800  # images of each modality that are paired
SIDES = {
    "within visible": ("visible", "visible"),
    "within infrared": ("infrared", "infrared"),
    "across": ("visible", "infrared"),
}


def select_images(identities: Mapping[str, np.ndarray], seed: int = 0) -> dict[str, np.ndarray]:
    """modality -> rows of at most `IDENTITIES` identities that both modalities show, `IMAGES_EACH` images
    of each; always the same ones.
    """
    generator = np.random.default_rng(seed)
    both = sorted(set.intersection(*(set(ids.tolist()) for ids in identities.values())))
    chosen = generator.permutation(both)[:IDENTITIES]
    rows = {
        m: [generator.permutation(np.flatnonzero(ids == p))[:IMAGES_EACH] for p in chosen]
        for m, ids in identities.items()
    }
    return {m: np.sort(np.concatenate(parts)) if parts else np.zeros(0, int) for m, parts in rows.items()}


def project(features: np.ndarray, seed: int = 0) -> dict[str, np.ndarray]:
    """Name of the projection -> (N, 2), of unit rows (N, D): t-SNE always, UMAP where it is installed."""
    projections = {}
    if len(features) >= 5:
        perplexity = min(30.0, (len(features) - 1) / 3)
        projections["t-SNE"] = TSNE(
            2, perplexity=perplexity, metric="cosine", init="pca", random_state=seed
        ).fit_transform(features)
        if importlib.util.find_spec("umap"):
            from umap import UMAP

            neighbors = min(15, len(features) - 1)
            projections["UMAP"] = UMAP(
                n_components=2, n_neighbors=neighbors, metric="cosine", random_state=seed
            ).fit_transform(features)
    return projections


def map_chart(name: str, points: np.ndarray, identities: np.ndarray, modalities: Sequence[str]) -> Chart:
    """Scatter of points (N, 2): colour and number show the identity, filled is visible, hollow is
    infrared.
    """
    shown = np.unique(identities).tolist()
    visible = np.array([m == "visible" for m in modalities])
    with panel(f"{name} of test features", size=(1.2 * PANEL[0], 1.5 * PANEL[1])) as (figure, axes):
        for i, identity in enumerate(shown):
            colour, marker = COLOURS[i % len(COLOURS)], MARKERS[(i // len(COLOURS)) % len(MARKERS)]
            middles = []
            for side, face in ((visible, colour), (~visible, "none")):
                members = points[side & (identities == identity)]
                axes.scatter(
                    members[:, 0],
                    members[:, 1],
                    s=26,
                    marker=marker,
                    facecolors=face,
                    edgecolors=colour,
                    linewidths=1.1,
                    alpha=0.8,
                )
                middles += [np.median(members, axis=0)] * bool(len(members))
            axes.plot(*np.transpose(middles), color=colour, linewidth=0.9, linestyle=":")
            for x, y in middles:
                box = {"facecolor": "white", "edgecolor": colour, "alpha": 0.85, "pad": 1, "linewidth": 0.8}
                axes.text(x, y, str(identity), ha="center", va="center", fontsize=8, bbox=box)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.grid(False)
        alt = (
            f"{name} map of {len(points)} test images of {len(shown)} identities, visible ones filled, "
            "infrared ones hollow."
        )
        caption = (
            "Colour, shape and number: the identity. Filled: visible; hollow: infrared; the dotted line "
            "joins their medians. The axes have no meaning."
        )
        return Chart(png_uri(figure), alt, caption)


def similarity_charts(
    features: Mapping[str, np.ndarray],
    identities: Mapping[str, np.ndarray],
    cameras: Mapping[str, np.ndarray],
    seed: int = 0,
) -> list[Chart]:
    """Histograms of the cosine similarity of pairs of the same and of different identities, within and
    across modalities.

    Args:
        features: modality -> unit rows (N, D); at most `MOST_PAIRED` of them are used, always the same ones.
    """
    rows = {
        m: np.sort(np.random.default_rng(seed).permutation(len(ids))[:MOST_PAIRED])
        for m, ids in identities.items()
    }
    charts = []
    for name, (a, b) in SIDES.items():
        left, right = rows[a], rows[b]
        pair = (
            np.triu(np.ones((len(left), len(right)), bool), 1)
            if a == b
            else np.ones((len(left), len(right)), bool)
        )
        if a == b and len(np.unique(cameras[a])) > 1:
            pair &= cameras[a][left][:, None] != cameras[b][right][None]
        same = (identities[a][left][:, None] == identities[b][right][None])[pair]
        if 0 < same.sum() < len(same):
            charts.append(_histogram(name, (features[a][left] @ features[b][right].T)[pair], same))
    return charts


def _histogram(name: str, similarity: np.ndarray, same: np.ndarray) -> Chart:
    separation = roc_auc_score(same, similarity)
    bins = np.linspace(similarity.min(), similarity.max(), 50)
    with panel(f"Similarity of pairs, {name}", "cosine similarity", "density") as (figure, axes):
        for i, (label, part) in enumerate((("same identity", same), ("different identities", ~same))):
            style: dict[str, Any] = {"histtype": "stepfilled", "alpha": 0.45}
            if i:
                style = {"histtype": "step", "linestyle": "--", "linewidth": 1.6}
            axes.hist(
                similarity[part],
                list(bins),
                density=True,
                color=COLOURS[i],
                label=f"{label} ({part.sum():,} pairs)",
                **style,
            )
        figure.legend(loc="outside lower center", ncols=2)
        caption = (
            f"Pairs of the same identity are more similar than others in {separation:.1%} of the cases "
            "(area under the ROC curve)."
        )
        means = (
            f"mean {similarity[same].mean():.2f} for the same identity, {similarity[~same].mean():.2f} "
            "for different identities"
        )
        return Chart(svg_uri(figure), f"Histograms of the similarity of pairs {name}: {means}.", caption)
