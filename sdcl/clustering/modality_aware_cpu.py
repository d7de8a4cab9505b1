"""Lists of the most similar images as compiled loops: the CPU's form of the search in `modality_aware.py`.

A list is a row of `best`, float32 (n, k), descending, and of `images`, int64 (n, k); an offer is written into both in place. Of equally
similar images the first offered stays in front.
"""

from __future__ import annotations

from torch import Tensor

from sdcl.runtime.numba_loops import compiled, in_blocks

RUN = 64  # similarities that are compared together, without a branch: hardly any is large enough for a list


def offer_to_rows(best: Tensor, images: Tensor, similarity: Tensor, first: int) -> None:
    """Offer the images first, first + 1, ... with similarity (n, w) to the lists of the n rows."""
    in_blocks(_to_rows, len(best), similarity.numpy(), first, best.numpy(), images.numpy())


def offer_to_columns(best: Tensor, images: Tensor, similarity: Tensor, first: int) -> None:
    """Offer the images first, first + 1, ... with similarity (w, n) to the lists of the n columns."""
    in_blocks(_to_columns, len(best), similarity.numpy(), first, best.numpy(), images.numpy())


@compiled
def _insert(best, images, row, similarity, image):
    """Into the descending list of a row, behind what is as similar; the last entry leaves."""
    at = best.shape[1] - 1
    while at > 0 and best[row, at - 1] < similarity:
        best[row, at], images[row, at] = best[row, at - 1], images[row, at - 1]
        at -= 1
    best[row, at], images[row, at] = similarity, image


@compiled
def _to_rows(begin, end, similarity, first, best, images):
    last = best.shape[1] - 1
    for row in range(begin, end):
        line = similarity[row]
        for run in range(0, len(line), RUN):
            some, bar = line[run : run + RUN], best[row, last]
            larger = 0
            for at in range(len(some)):
                larger += some[at] > bar
            if larger > 0:
                for at in range(len(some)):
                    if some[at] > best[row, last]:
                        _insert(best, images, row, some[at], first + run + at)


@compiled
def _to_columns(begin, end, similarity, first, best, images):
    last = best.shape[1] - 1
    bars = best[begin:end, last].copy()
    for row in range(len(similarity)):
        line = similarity[row, begin:end]
        for run in range(0, len(line), RUN):
            some, bar = line[run : run + RUN], bars[run : run + RUN]
            larger = 0
            for at in range(len(some)):
                larger += some[at] > bar[at]
            if larger > 0:
                for at in range(len(some)):
                    if some[at] > bar[at]:
                        column = begin + run + at
                        _insert(best, images, column, some[at], first + row)
                        bar[at] = best[column, last]
