"""Steps of the Jaccard distance in PyTorch, for features on a GPU; jaccard_cpu.py holds them as loops.

Rows are worked on in chunks, whose size is bounded by the terms that are summed and by the cells they fall
into.

Legend: N images, k entries of a rank list, h of its first half, c rows of a chunk, T terms of a chunk. A cell
is the position row * N + column of a matrix entry, the row counted within its chunk.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from sdcl.clustering.sparse import NearPairs, SparseMatrix, distance_from_overlap

TERMS, CELLS = 2**25, 2**28  # of one chunk: about 1 GB each


def reciprocal_sets(ranks: Tensor, half_length: int) -> tuple[Tensor, Tensor]:
    """Enlarged reciprocal sets, see `sdcl.clustering.jaccard.reciprocal_sets`.

    Args:
        ranks: int64 (N, k). half_length: entries h of the lists from which the smaller sets are made.

    Returns:
        start int64 (N + 1,) and members int64 (E,), ascending within an image.
    """
    count, k = ranks.shape
    step = max(1, TERMS // (k * k))
    chunks = [slice(first, min(first + step, count)) for first in range(0, count, step)]
    reciprocal = [_reciprocal(ranks, chunk, half_length) for chunk in chunks]
    full, half = (torch.cat(masks) for masks in zip(*reciprocal, strict=True))  # bool (N, k), (N, h)
    inside = torch.zeros(step * count, dtype=torch.bool, device=ranks.device)
    cells = torch.cat([chunk.start * count + _enlarged(ranks, full, half, chunk, inside) for chunk in chunks])
    return _starts(cells // count, count), cells % count


def _reciprocal(ranks: Tensor, chunk: slice, half_length: int) -> tuple[Tensor, Tensor]:
    """Whether entry j of list i ranks i as well: in the full lists (c, k), and in the half lists (c, h)."""
    image = torch.arange(chunk.start, chunk.stop, device=ranks.device)
    returned = ranks[ranks[chunk]] == image[:, None, None]  # (c, k, k)
    return returned.any(2), returned[:, :half_length, :half_length].any(2)


def _enlarged(ranks: Tensor, full: Tensor, half: Tensor, chunk: slice, inside: Tensor) -> Tensor:
    """Sorted cells of the enlarged sets of a chunk; `inside` (>= c * N) is all False before and after."""
    listed, members = ranks[chunk], full[chunk]  # (c, k)
    base = torch.arange(len(listed), device=ranks.device) * len(ranks)  # (c,)
    core = (base[:, None] + listed)[members]  # cells of R(p, k1)
    row, position = members.nonzero(as_tuple=True)  # (A,): member q of row p
    member = listed[row, position]
    cell = base[row, None] + ranks[member, : half.shape[1]]  # (A, h): the half list of q, in the row of p
    belongs = half[member]
    inside[core] = True
    overlap = (inside[cell] & belongs).sum(1)  # |R(q, k1 / 2) ∩ R(p, k1)|
    inside[core] = False
    accepted = 3 * overlap > 2 * belongs.sum(1)  # strictly, in integers: no rounding decides
    return torch.cat((core, cell[belongs & accepted[:, None]])).unique()


def query_expansion(weights: SparseMatrix, nearest: Tensor) -> SparseMatrix:
    """Row i becomes the sum of the rows nearest[i]; weights int32 in fixed point, nearest int64 (N, k2)."""
    count = len(nearest)
    size = weights.start.diff()[nearest]  # (N, k2)
    sums = _CellSums(weights.start.device, count)
    parts = []
    for first, last in _chunks(size.sum(1), sums):
        source, entry = _ragged(weights.start[nearest[first:last]].flatten(), size[first:last].flatten())
        cell = source // nearest.shape[1] * count + _take(weights.columns, entry)
        cell, value = sums(cell, _take(weights.values, entry))
        parts.append((cell // count + first, cell % count, value))
    rows, columns, values = (torch.cat(column) for column in zip(*parts, strict=True))
    return SparseMatrix(_starts(rows, count), rows, columns, values)


def pair_distances(weights: SparseMatrix, eps: float) -> NearPairs:
    """Jaccard distances of pairs at most eps apart, see `sdcl.clustering.jaccard.pair_distances`."""
    count = len(weights.start) - 1
    columns, order = weights.columns.sort(stable=True)  # column after column, its rows ascending
    later_row, later_value = weights.rows[order], weights.values[order]
    position = torch.empty_like(order)  # of each entry among those sorted by column
    position[order] = torch.arange(len(order), device=order.device)
    end = _starts(columns, count)[1:]
    size = end[weights.columns] - position - 1  # (E,): entries of the same column in later rows
    work = torch.zeros(count, dtype=torch.long, device=size.device).index_add_(0, weights.rows, size)
    sums = _CellSums(size.device, count)
    parts = []
    for first, last in _chunks(work, sums):
        span = slice(int(weights.start[first]), int(weights.start[last]))
        source, entry = _ragged(position[span] + 1, size[span])
        cell = _take((weights.rows[span] - first) * count, source) + _take(later_row, entry)
        minimum = torch.minimum(_take(weights.values[span], source), _take(later_value, entry))
        cell, overlap = sums(cell, minimum)
        distance = distance_from_overlap(overlap)
        near = distance <= eps
        cell = cell[near]
        parts.append(((cell // count + first).int().cpu(), (cell % count).int().cpu(), distance[near].cpu()))
    return NearPairs(*(torch.cat(column).numpy() for column in zip(*parts, strict=True)))


class _CellSums:
    """Integer sums by cell, over the cells of c rows of N; the buffers are reused from chunk to chunk."""

    def __init__(self, device: torch.device, count: int):
        self.max_rows = max(1, CELLS // count)
        self.total = torch.zeros(0, dtype=torch.int32, device=device)
        self.owner = torch.empty(0, dtype=torch.int32, device=device)

    def reserve(self, cells: int) -> None:
        """Allocate the buffers for a number of cells."""
        self.total = self.total.new_zeros(cells)
        self.owner = self.owner.new_empty(cells)

    def __call__(self, cell: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Cells int64 (T,), values int32 (T,), row after row -> distinct cells and their sums, likewise."""
        self.total.scatter_add_(0, cell, value)
        position = torch.arange(len(cell), dtype=torch.int32, device=cell.device)
        self.owner.scatter_(0, cell, position)  # one term of each cell wins: no sort is needed
        cell = cell.masked_select(self.owner.gather(0, cell) == position)
        total = self.total.gather(0, cell)
        self.total.scatter_(0, cell, 0)
        return cell, total


def _chunks(work: Tensor, sums: _CellSums) -> Iterator[tuple[int, int]]:
    """Ranges of consecutive rows with at most TERMS terms together, one row at least.

    Reserves the buffers of `sums`.

    Args:
        work: int64 (N,), terms of each row.
    """
    until = np.concatenate(([0], work.cumsum(0).cpu().numpy()))
    count, first = len(work), 0
    sums.reserve(min(count, sums.max_rows) * count)
    while first < count:
        last = int(np.searchsorted(until, until[first] + TERMS, "right")) - 1
        last = min(max(last, first + 1), first + sums.max_rows, count)
        yield first, last
        first = last


def _ragged(start: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
    """start, size (n,) -> (T,) which n, and start[n], start[n] + 1, ... for each."""
    total = int(size.sum())
    source = torch.repeat_interleave(size, output_size=total)
    offset = start - size.cumsum(0) + size
    return source, _take(offset, source) + torch.arange(total, device=size.device)


def _take(values: Tensor, index: Tensor) -> Tensor:
    """values[index] in one dimension, on a CPU, where tests run this file, several times faster."""
    return values.index_select(0, index)


def _starts(rows: Tensor, count: int) -> Tensor:
    """Ascending rows (E,) -> (N + 1,) first entry of each row."""
    return torch.searchsorted(rows, torch.arange(count + 1, device=rows.device))
