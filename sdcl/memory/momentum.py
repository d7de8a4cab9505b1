"""The momentum update that both memories share, one sample after another in batch order."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from sdcl.runtime.validation import as_rows


def sequential_update(bank: Tensor, values: Tensor, rows: np.ndarray, momentum: float) -> None:
    """For b = 0..B-1: bank[rows[b]] <- unit(momentum * bank[rows[b]] + (1 - momentum) * values[b]), in place.

    Only a row's own samples depend on one another, so the b-th occurrences of all rows are written together:
    as many rounds as the most frequent row has samples, with the meaning of the sequential loop.

    Args:
        bank: (R, D). values: (B, D). rows: int (B,), repeats allowed; kept on the host, so no device is waited for.

    Raises:
        ValueError: a row that the bank does not have (-1 among them), or not one for each value.
    """
    rows = as_rows("labels of a memory's update", rows, len(values), len(bank))
    for samples in occurrence_rounds(rows):
        at = torch.as_tensor(rows[samples], device=bank.device)
        new = momentum * bank[at] + (1 - momentum) * values[torch.as_tensor(samples, device=bank.device)].to(bank.dtype)
        bank[at] = new / new.norm(dim=1, keepdim=True)


def occurrence_rounds(rows: np.ndarray) -> list[np.ndarray]:
    """Positions of the first occurrence of every row, then of the second, and so on."""
    rows = np.asarray(rows)
    order = np.argsort(rows, kind="stable")
    ordered = rows[order]
    first = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if len(rows) else np.zeros(0, int)
    occurrence = np.empty(len(rows), np.int64)
    occurrence[order] = np.arange(len(rows)) - np.repeat(first, np.diff(np.r_[first, len(rows)]))
    return [np.flatnonzero(occurrence == r) for r in range(occurrence.max(initial=-1) + 1)]
