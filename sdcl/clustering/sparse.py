"""Values exchanged by the Jaccard modules: sparse weights in fixed point, and pairs of images.

Weights and their sums are integers, so that neither the order of a sum nor the device changes a bit of the
result.

Legend: N images, E stored entries, P pairs.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

ONE = 2**30  # the fixed-point value of 1, which is also the sum of a row


class SparseMatrix(NamedTuple):
    """A sparse (N, N) matrix whose entries are stored row after row.

    Args:
        start: int64 (N + 1,), first entry of each row.
        rows, columns: int64 (E,), index of each entry.
        values: (E,), float64 or fixed-point int32.
    """

    start: Tensor
    rows: Tensor
    columns: Tensor
    values: Tensor


class NearPairs(NamedTuple):
    """Pairs of images first[p] < second[p] with their distances, on the CPU.

    Args:
        first, second: int32 (P,). distance: float32 (P,).
    """

    first: np.ndarray
    second: np.ndarray
    distance: np.ndarray


def sparse_matrix(start: Tensor, columns: Tensor, values: Tensor) -> SparseMatrix:
    """The matrix with the given entries; its row indexes follow from `start`."""
    rows = torch.repeat_interleave(torch.arange(len(start) - 1, device=start.device), start.diff())
    return SparseMatrix(start, rows, columns, values)


def fixed_point(weights: SparseMatrix, divisor: int = 1) -> SparseMatrix:
    """Float64 weights divided by `divisor`, as int32 fixed-point values."""
    return weights._replace(values=(weights.values * (ONE / divisor)).round().int())


def distance_from_overlap(overlap: Tensor) -> Tensor:
    """Jaccard distance 1 - s / (2 - s) of rows that sum to 1, from their fixed-point overlap s. -> float32"""
    s = overlap.double() / ONE
    return (1 - s / (2 - s)).clamp_min(0).float()
