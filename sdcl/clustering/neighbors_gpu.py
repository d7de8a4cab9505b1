"""Lists of nearest neighbours in PyTorch, for features on a GPU; neighbors_cpu.py uses compiled loops.

Legend: N images, k entries of a list.
"""

from __future__ import annotations

import torch
from torch import Tensor


def merge_products(best: Tensor, ranks: Tensor, product: Tensor, squared: Tensor, first: int) -> None:
    """Merge a strip of products into the lists of its rows and columns, in place. Overwrites `product`.

    Args:
        best: float32 (N, k), |x_j|^2 - 2 x_i.x_j of the listed images, ascending. ranks: int64 (N, k), the
            listed images.
        product: float32 (rows, N - first), x_i.x_j of the images i = first, first + 1, ... and all images j
            from `first` on.
        squared: float32 (N,), |x_j|^2. first: first image of the strip.
    """
    distance, last = product.mul_(-2), first + len(product)
    if last < len(best):
        # less |x_j|^2, constant in a list
        transposed = distance[:, last - first :].T.contiguous().add_(squared[first:last])
        _merge(best[last:], ranks[last:], transposed, first)
        del transposed
    distance.add_(squared[first:])
    distance.diagonal().fill_(-torch.inf)  # an image is its own nearest, also among duplicates
    _merge(best[first:last], ranks[first:last], distance, first)


def _merge(best: Tensor, ranks: Tensor, distance: Tensor, first: int) -> None:
    """Merge images `first`, ... at `distance` (n, w) into the sorted lists best, ranks (n, k), in place."""
    k = best.shape[1]
    near = distance.topk(min(k, distance.shape[1]), largest=False)
    kept = torch.cat((best, near.values), 1).topk(k, largest=False)
    ranks.copy_(torch.cat((ranks, near.indices + first), 1).gather(1, kept.indices))
    best.copy_(kept.values)
