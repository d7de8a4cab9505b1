"""Lists of the most similar images in PyTorch: the GPU's form of the search in `modality_aware.py`.

A list is a row of `best`, float32 (n, k), descending, and of `images`, int64 (n, k); an offer is written into both in place.
"""

from __future__ import annotations

import torch
from torch import Tensor


def offer_to_rows(best: Tensor, images: Tensor, similarity: Tensor, first: int) -> None:
    """Offer the images first, first + 1, ... with similarity (n, w) to the lists of the n rows."""
    near = similarity.topk(min(best.shape[1], similarity.shape[1]))
    kept = torch.cat((best, near.values), 1).topk(best.shape[1])
    images.copy_(torch.cat((images, near.indices + first), 1).gather(1, kept.indices))
    best.copy_(kept.values)


def offer_to_columns(best: Tensor, images: Tensor, similarity: Tensor, first: int) -> None:
    """Offer the images first, first + 1, ... with similarity (w, n) to the lists of the n columns."""
    if len(best):
        offer_to_rows(best, images, similarity.T.contiguous(), first)
