"""Momentum update of memory rows, sample by sample in batch order, as cluster and instance memories use it.

Legend: B samples of a batch, R rows of the memory, D dimensions.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from sdcl.runtime.devices import upload
from sdcl.runtime.validation import as_rows


def sequential_update(bank: Tensor, values: Tensor, rows: np.ndarray, momentum: float) -> None:
    """For b = 0..B-1: bank[rows[b]] <- unit(momentum bank[rows[b]] + (1 - momentum) values[b]), in place.

    Only samples of the same row depend on one another, so that the n-th occurrences of all rows are written
    together: as many rounds as the most frequent row has samples, with the result of the sequential loop.

    Args:
        bank: (R, D). values: (B, D).
        rows: int (B,), repeats allowed; on the CPU, so that no GPU has to be waited for.
        momentum: weight of the old row, 0 to 1.

    Raises:
        ValueError: not one row for each value, or a row that the bank does not have (-1 among them).
    """
    rows = as_rows("labels of a memory's update", rows, len(values), len(bank))
    rounds = occurrence_rounds(rows)
    if not rounds:
        return
    order = np.concatenate(rounds)
    both = upload(np.stack((order, rows[order])), bank.device)  # (2, B), one copy for all rounds
    for samples, target in both.split([len(r) for r in rounds], 1):
        new = momentum * bank[target] + (1 - momentum) * values[samples].to(bank.dtype)
        bank[target] = new / new.norm(dim=1, keepdim=True)


def occurrence_rounds(rows: np.ndarray) -> list[np.ndarray]:
    """Positions in `rows` (B,) of the first occurrence of every row, then of the second, and so on."""
    rows = np.asarray(rows)
    order = np.argsort(rows, kind="stable")
    ordered = rows[order]
    first = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if len(rows) else np.zeros(0, int)
    occurrence = np.empty(len(rows), np.int64)
    occurrence[order] = np.arange(len(rows)) - np.repeat(first, np.diff(np.r_[first, len(rows)]))
    return [np.flatnonzero(occurrence == r) for r in range(occurrence.max(initial=-1) + 1)]
