"""Open-set search: rank a gallery for each query, and decide whether the person is in the gallery at all.

A gallery always has a nearest image, also for a person whom it does not show. A query is said to be in the
gallery when its largest cosine similarity exceeds a threshold (never a re-ranked distance, which depends on
all other images of the search). `calibrate_threshold` finds the threshold of a false-accept rate F from
reference images:

- unlabelled: images, of the queries' modality and kind of camera, of people known NOT to be in the gallery.
  The largest similarity of each to the gallery is an impostor score.
- labelled: the first folder of each path names the person, in the reference and in the gallery. Gallery
  images of the same person are left out of the impostor score, so the reference may show people of the
  gallery. The true-accept rate, the share of images that find their person above the threshold, is measured
  too: it is what the threshold costs.

Of n reference images the threshold is the score of rank floor(F (n + 1)): a further impostor, drawn as the
reference was, exceeds it with a probability of at most F. So n must be at least 1 / F - 1, and much larger
for a steady threshold; many images of few people count as few. More gallery images raise the largest
similarity: calibrate again when gallery, weights or cameras change.

Q queries, G gallery images, n reference images, D dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from sdcl.evaluation.rerank import Rerank, rerank
from sdcl.inference.embeddings import Embeddings, refuse_mixture
from sdcl.runtime.errors import DataError, SettingError
from sdcl.runtime.files import printable

CHUNK = 256  # queries compared at once
BLOCK = 8192  # gallery images compared at once with a reference, in float64


@dataclass(frozen=True)
class Calibration:
    """The threshold of a false-accept rate.

    Args:
        threshold: cosine similarity that a query must exceed.
        rate: the false-accept rate that was asked for.
        images: reference images with an impostor score.
        labelled: whether people were named by folders.
        true_accept_rate: share of the labelled images with their person in the gallery that exceed the
            threshold by an image of that person; None without labels.
    """

    threshold: float
    rate: float
    images: int
    labelled: bool
    true_accept_rate: float | None

    def __str__(self) -> str:
        text = f"threshold {self.threshold:.4f} from {self.images} references, false accepts {self.rate:g}"
        if self.true_accept_rate is None:
            return text
        return f"{text}, true accepts {self.true_accept_rate:.1%}"


@dataclass(frozen=True, eq=False)
class ThresholdCosts:
    """What a threshold costs, by reference images.

    Args:
        impostor: (n,) largest similarity of each image to gallery images of other people, descending.
        genuine: (m,) largest similarity of each image to gallery images of its own person, descending; empty
            without labels.
        labelled: whether people were named by folders.
    """

    impostor: np.ndarray
    genuine: np.ndarray
    labelled: bool

    def false_accepts(self, threshold: float) -> float:
        """Bound on the probability that a further impostor exceeds the threshold: 1 more than were seen, of
        n + 1.
        """
        return (int((self.impostor > threshold).sum()) + 1) / (len(self.impostor) + 1)

    def true_accepts(self, threshold: float) -> float | None:
        """Share of genuine images above the threshold; None if there are none."""
        return float((self.genuine > threshold).mean()) if len(self.genuine) else None

    def threshold(self, rate: float) -> float:
        """The threshold of a false-accept rate.

        Raises:
            SettingError: a rate outside (0, 1). DataError: too few reference images for the rate.
        """
        if not 0 < rate < 1:
            raise SettingError(f"--calibrate must lie between 0 and 1, got {rate}")
        count = len(self.impostor)
        rank = math.floor(rate * (count + 1) + 1e-9)
        if rank < 1:
            needed = math.ceil(1 / rate - 1e-9) - 1
            raise DataError(
                f"--calibrate {rate:g} needs at least {needed} reference images, got {count}; "
                f"add images to --reference, or raise --calibrate"
            )
        return float(self.impostor[min(rank, count) - 1])


def nearest(query: np.ndarray, gallery: np.ndarray, top: int) -> tuple[np.ndarray, np.ndarray]:
    """The gallery rows of largest cosine similarity, best first; equal ones keep the gallery's order.

    Exact: a float32 product finds all rows within its rounding error of the best, float64 ranks them.

    Args:
        query, gallery: float32 (Q, D) and (G, D), unit rows. top: k, cut to G.

    Returns:
        indexes int64 (Q, k) and similarities float64 (Q, k).
    """
    top = min(top, len(gallery))
    indexes, similarities = np.empty((len(query), top), np.int64), np.empty((len(query), top))
    margin = 2 * query.shape[1] * float(np.finfo(np.float32).eps)  # twice the error bound of a product
    for first in range(0, len(query), CHUNK):
        product = query[first : first + CHUNK] @ gallery.T  # (q, G)
        limit = np.partition(product, len(gallery) - top, axis=1)[:, len(gallery) - top] - margin  # (q,)
        for i, row in enumerate(product, first):
            near = np.flatnonzero(row >= limit[i - first])
            similarity = gallery[near].astype(np.float64) @ query[i].astype(np.float64)
            order = np.argsort(-similarity, kind="stable")[:top]
            indexes[i], similarities[i] = near[order], similarity[order]
    return indexes, similarities


def search(
    query: Embeddings,
    gallery: Embeddings | Sequence[Embeddings],
    *,
    top: int = 10,
    threshold: float | None = None,
    method: Rerank | None = None,
    rerank_top: int | None = None,
) -> list[dict[str, Any]]:
    """Find the best gallery images of each query, best first; equal scores keep the gallery's order.

    Args:
        gallery: one, or several that are searched as one.
        top: gallery images listed for each query.
        threshold: cosine similarity above which the query's person is said to be in the gallery.
        method: k-reciprocal re-ranking (Zhong et al., CVPR 2017); None: cosine similarity.
        rerank_top: re-rank only so many of the most similar images of each query, among themselves; None:
            all queries and gallery images together.

    Returns:
        One dictionary a query: `query` path; `best_similarity`; `in_gallery`, None without a threshold;
        `results`, each with `path`, cosine `similarity` and `score` (larger is better: the similarity, or 1 -
        re-ranked distance), and of several galleries its index, `gallery`, and that of the image, `row`.

    Raises:
        DataError: query and gallery were not embedded by the same model. ValueError: no gallery, top below
            1, or `rerank_top` below `top`.
    """
    galleries = [gallery] if isinstance(gallery, Embeddings) else list(gallery)
    if not galleries or top < 1:
        raise ValueError(f"a search needs a gallery and a top of 1 or more, got {len(galleries)} and {top}")
    if rerank_top is not None and rerank_top < top:
        raise ValueError(f"rerank_top must be at least top, got {rerank_top} and {top}")
    for one in galleries:
        refuse_mixture(query, one)
    size = sum(len(g.rows) for g in galleries)
    together = method is not None and (rerank_top is None or rerank_top >= size)
    wanted = size if together else max(top, rerank_top or 0) if method else top
    indexes, similarities = _nearest_of(query.rows, galleries, wanted)
    distance = None  # (Q, G)
    if method is not None and together:
        rows = np.concatenate([g.rows for g in galleries])
        distance = rerank(torch.from_numpy(query.rows), torch.from_numpy(rows), method).numpy()
    starts = np.cumsum([0] + [len(g.rows) for g in galleries])
    answers = []
    for i, (found, similarity) in enumerate(zip(indexes, similarities)):
        score = similarity
        highest = float(similarity[0])
        if method is not None:
            order, score = _reranked(query.rows[i], found, galleries, starts, method, rerank_top, distance, i)
            found, similarity = found[order], similarity[order]
        results = []
        for index, cosine, value in list(zip(found.tolist(), similarity.tolist(), score.tolist()))[:top]:
            g = int(np.searchsorted(starts, index, "right")) - 1
            row = int(index - starts[g])
            results.append({"path": galleries[g].paths[row], "similarity": cosine, "score": value})
            if not isinstance(gallery, Embeddings):
                results[-1] |= {"gallery": g, "row": row}
        answers.append(
            {
                "query": query.paths[i],
                "best_similarity": highest,
                "in_gallery": None if threshold is None else highest > threshold,
                "results": results,
            }
        )
    return answers


def _nearest_of(
    query: np.ndarray, galleries: Sequence[Embeddings], top: int
) -> tuple[np.ndarray, np.ndarray]:
    """`nearest` of several galleries laid end to end. -> indexes and similarities, (Q, k) each"""
    start, parts = 0, []
    for gallery in galleries:
        indexes, similarity = nearest(query, gallery.rows, top)
        parts.append((indexes + start, similarity))
        start += len(gallery.rows)
    indexes, similarity = (np.concatenate(part, axis=1) for part in zip(*parts))
    order = np.argsort(-similarity, axis=1, kind="stable")[:, :top]
    return np.take_along_axis(indexes, order, 1), np.take_along_axis(similarity, order, 1)


def _reranked(
    query: np.ndarray,
    found: np.ndarray,
    galleries: Sequence[Embeddings],
    starts: np.ndarray,
    method: Rerank,
    rerank_top: int | None,
    distance: np.ndarray | None,
    index: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Order of the images `found` of one query by re-ranked distance, and their scores in that order.

    Args:
        query: (D,). found: (k,) indexes, most similar first. distance: (Q, G), or None to re-rank the first
            `rerank_top` among themselves. index: of the query.
    """
    if distance is not None:
        of_query = distance[index][found]
        order = np.lexsort((found, of_query))  # equal ones keep the gallery's order
    else:
        head = found[:rerank_top]
        owner = np.searchsorted(starts, head, "right") - 1
        rows = np.stack([galleries[g].rows[i - starts[g]] for g, i in zip(owner, head)])
        of_query = rerank(torch.from_numpy(query[None]), torch.from_numpy(rows), method).numpy()[0]
        order = np.lexsort((head, of_query))
    return order, 1.0 - of_query[order]


def calibrate_threshold(
    reference: Embeddings, gallery: Embeddings, rate: float, *, labelled: bool = False
) -> Calibration:
    """Find the threshold that a share `rate` of impostors exceeds, see the top of this file.

    Raises:
        SettingError: a rate outside (0, 1).
        DataError: too few reference images for the rate, or a path without a folder that names its person.
    """
    if not 0 < rate < 1:
        raise SettingError(f"--calibrate must lie between 0 and 1, got {rate}")
    costs = threshold_costs(reference, [gallery], labelled=labelled)
    threshold = costs.threshold(rate)
    return Calibration(threshold, rate, len(costs.impostor), labelled, costs.true_accepts(threshold))


def threshold_costs(
    reference: Embeddings, galleries: Sequence[Embeddings], *, labelled: bool = False
) -> ThresholdCosts:
    """Scores of the reference images in galleries that are searched as one, see the top of this file.

    Raises:
        DataError: with `labelled`, a path without a folder that names its
            person; or embeddings of two models.
    """
    for gallery in galleries:
        refuse_mixture(reference, gallery)
    scores = [_best_scores(reference, gallery, labelled) for gallery in galleries]
    impostor, genuine = (np.max(part, axis=0) for part in zip(*scores))
    impostor = impostor[np.isfinite(impostor)]  # -inf: the gallery shows this person alone
    genuine = genuine[np.isfinite(genuine)]
    return ThresholdCosts(np.sort(impostor)[::-1], np.sort(genuine)[::-1], labelled)


def _best_scores(reference: Embeddings, gallery: Embeddings, labelled: bool) -> tuple[np.ndarray, np.ndarray]:
    """Largest similarity of each image to gallery images of other people, and of its person; -inf if none.
    (n,) each.
    """
    reference_people, gallery_people = (_people(e) if labelled else None for e in (reference, gallery))
    impostor, genuine = (np.full(len(reference.rows), -np.inf) for _ in range(2))
    for start in range(0, len(gallery.rows), BLOCK):
        block = slice(start, start + BLOCK)
        columns = gallery.rows[block].astype(np.float64).T
        for first in range(0, len(impostor), CHUNK):
            chunk = slice(first, first + CHUNK)
            similarity = reference.rows[chunk].astype(np.float64) @ columns  # (q, g)
            if reference_people is not None and gallery_people is not None:
                same = reference_people[chunk, None] == gallery_people[None, block]
                found = np.where(same, similarity, -np.inf).max(1)
                genuine[chunk] = np.maximum(genuine[chunk], found)
                similarity = np.where(same, -np.inf, similarity)
            impostor[chunk] = np.maximum(impostor[chunk], similarity.max(1))
    return impostor, genuine


def _people(embeddings: Embeddings) -> np.ndarray:
    """First folder of each path."""
    unnamed = next((path for path in embeddings.paths if "/" not in path), None)
    if unnamed is not None:
        root = printable(embeddings.about["root"])
        raise DataError(
            f"--labelled: {printable(unnamed)} below {root} lies in no folder that names its person; "
            "put it into one"
        )
    return np.array([path.split("/")[0] for path in embeddings.paths])
