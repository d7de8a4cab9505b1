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
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from sdcl.evaluation.rerank import Rerank, rerank
from sdcl.inference.embeddings import Embeddings
from sdcl.runtime.errors import DataError, SettingError
from sdcl.runtime.files import printable

CHUNK = 256  # queries compared at once


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


def search(
    query: Embeddings,
    gallery: Embeddings,
    *,
    top: int = 10,
    threshold: float | None = None,
    method: Rerank | None = None,
) -> list[dict[str, Any]]:
    """Find the best gallery images of each query, best first; equal scores keep the gallery's order.

    Args:
        top: gallery images listed for each query.
        threshold: cosine similarity above which the query's person is said to be in the gallery.
        method: k-reciprocal re-ranking (Zhong et al., CVPR 2017); None: cosine similarity.

    Returns:
        One dictionary a query: `query` path; `best_similarity`; `in_gallery`, None without a threshold;
        `results`, each with `path`, cosine `similarity` and `score` (larger is better: the similarity, or 1 -
        re-ranked distance).
    """
    rows, columns = query.rows.astype(np.float64), gallery.rows.astype(np.float64).T  # (Q, D), (D, G)
    distance = None  # (Q, G)
    if method is not None:
        distance = rerank(torch.from_numpy(query.rows), torch.from_numpy(gallery.rows), method).numpy()
    answers = []
    for first in range(0, len(rows), CHUNK):
        similarity = rows[first : first + CHUNK] @ columns  # (q, G)
        score = similarity if distance is None else 1.0 - distance[first : first + CHUNK]
        order = np.argsort(-score, axis=1, kind="stable")[:, :top]
        for i, best in enumerate(order):
            highest = float(similarity[i].max())
            results = [
                {"path": gallery.paths[g], "similarity": float(similarity[i, g]), "score": float(score[i, g])}
                for g in best
            ]
            answers.append(
                {
                    "query": query.paths[first + i],
                    "best_similarity": highest,
                    "in_gallery": None if threshold is None else highest > threshold,
                    "results": results,
                }
            )
    return answers


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
    impostor, genuine = _best_scores(reference, gallery, labelled)
    impostor = np.sort(impostor[np.isfinite(impostor)])[::-1]  # -inf: the gallery shows this person alone
    genuine = genuine[np.isfinite(genuine)]
    rank = math.floor(rate * (len(impostor) + 1) + 1e-9)
    if rank < 1:
        needed = math.ceil(1 / rate - 1e-9) - 1
        raise DataError(f"--calibrate {rate:g} needs at least {needed} reference images, got {len(impostor)}")
    threshold = float(impostor[min(rank, len(impostor)) - 1])
    accepted = float((genuine > threshold).mean()) if len(genuine) else None
    return Calibration(threshold, rate, len(impostor), labelled, accepted)


def _best_scores(reference: Embeddings, gallery: Embeddings, labelled: bool) -> tuple[np.ndarray, np.ndarray]:
    """Largest similarity of each image to gallery images of other people, and of its person; -inf if none.
    (n,) each.
    """
    reference_people, gallery_people = (_people(e) if labelled else None for e in (reference, gallery))
    impostor, genuine = np.empty(len(reference.rows)), np.full(len(reference.rows), -np.inf)
    columns = gallery.rows.astype(np.float64).T
    for first in range(0, len(impostor), CHUNK):
        chunk = slice(first, first + CHUNK)
        similarity = reference.rows[chunk].astype(np.float64) @ columns  # (q, G)
        if reference_people is None or gallery_people is None:
            impostor[chunk] = similarity.max(1)
            continue
        same = reference_people[chunk, None] == gallery_people[None]
        impostor[chunk] = np.where(same, -np.inf, similarity).max(1)
        genuine[chunk] = np.where(same, similarity, -np.inf).max(1)
    return impostor, genuine


def _people(embeddings: Embeddings) -> np.ndarray:
    """First folder of each path."""
    unnamed = next((path for path in embeddings.paths if "/" not in path), None)
    if unnamed is not None:
        root = printable(embeddings.about["root"])
        raise DataError(
            f"--labelled: {printable(unnamed)} below {root} lies in no folder that names its person"
        )
    return np.array([path.split("/")[0] for path in embeddings.paths])
