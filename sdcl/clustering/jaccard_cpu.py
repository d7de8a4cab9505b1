"""Steps of the Jaccard distance as compiled loops over images, for features on the CPU.

jaccard_gpu.py holds the same in PyTorch. Both count in the same integers, so their results are the same to
the bit.

Legend: N images, k entries of a rank list, h of its first half, E stored weights. A thread works on a block
of rows, `first` to `last - 1`; `start` (N + 1,) is the first entry of each row of a sparse matrix.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from sdcl.clustering.sparse import ONE, NearPairs, SparseMatrix, sparse_matrix
from sdcl.runtime.numba_loops import compiled, in_blocks


def reciprocal_sets(ranks: Tensor, half_length: int) -> tuple[Tensor, Tensor]:
    """Enlarged reciprocal sets, see `sdcl.clustering.jaccard.reciprocal_sets`.

    Args:
        ranks: int64 (N, k). half_length: entries h of the lists from which the smaller sets are made.

    Returns:
        start int64 (N + 1,) and members int64 (E,), ascending within an image.
    """
    lists = ranks.contiguous().numpy()
    half = np.concatenate(in_blocks(_half_sets, len(lists), lists, half_length))
    start, members = _joined(in_blocks(_enlarged_sets, len(lists), lists, half))
    return torch.from_numpy(start), torch.from_numpy(members)


def query_expansion(weights: SparseMatrix, nearest: Tensor) -> SparseMatrix:
    """Row i becomes the sum of the rows nearest[i]; weights int32 in fixed point, nearest int64 (N, k2)."""
    blocks = in_blocks(_expanded_rows, len(nearest), *_arrays(weights), nearest.contiguous().numpy())
    return sparse_matrix(*map(torch.from_numpy, _joined(blocks)))


def pair_distances(weights: SparseMatrix, eps: float) -> NearPairs:
    """Jaccard distances of pairs at most eps apart, see `sdcl.clustering.jaccard.pair_distances`."""
    arrays = _arrays(weights)
    by_column = _transposed(*arrays)
    blocks = in_blocks(_near_pairs, len(weights.start) - 1, *arrays, *by_column, np.float32(eps), ONE)
    return NearPairs(*(np.concatenate(column) for column in zip(*blocks, strict=True)))


def _arrays(weights: SparseMatrix) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return weights.start.numpy(), weights.columns.numpy(), weights.values.numpy()


def _joined(blocks: list[tuple[np.ndarray, ...]]) -> tuple[np.ndarray, ...]:
    """(entries in each row, entries ...) of consecutive blocks -> start of each row, entries ..."""
    sizes, *entries = (np.concatenate(column) for column in zip(*blocks, strict=True))
    return np.concatenate((np.zeros(1, np.int64), np.cumsum(sizes))), *entries


@compiled
def _larger(array, used):
    """A copy with room for twice as many entries, of which the first `used` are kept."""
    result = np.empty(2 * len(array), array.dtype)
    result[:used] = array[:used]
    return result


@compiled
def _ranks(ranks, other, image, length):
    """Whether `image` is among the first `length` entries of the list of `other`."""
    position = 0
    while position < length and ranks[other, position] != image:
        position += 1
    return position < length


@compiled
def _half_sets(first, last, ranks, half_length):
    """bool (rows, h): whether entry j of the half list ranks the image in its half list."""
    reciprocal = np.empty((last - first, half_length), np.bool_)
    for row in range(first, last):
        for position in range(half_length):
            reciprocal[row - first, position] = _ranks(ranks, ranks[row, position], row, half_length)
    return reciprocal


@compiled
def _enlarged_sets(first, last, ranks, half):
    """Size of each set, and the sets one after another, ascending. half: bool (N, h), see `_half_sets`."""
    (count, k), half_length = ranks.shape, half.shape[1]
    # the last row whose set an image entered, + 2 N if through a half set
    mark = np.full(count, -1, np.int64)
    collected = np.empty(k + k * half_length, np.int64)
    sizes, used = np.empty(last - first, np.int64), 0
    members = np.empty(max(16, (last - first) * k), np.int64)
    for row in range(first, last):
        core = 0  # members of R(p, k1)
        for position in range(k):
            other = ranks[row, position]
            if _ranks(ranks, other, row, k):
                collected[core] = other
                mark[other] = row
                core += 1
        total = core
        added = 2 * count + row
        for index in range(core):
            member, size, overlap = collected[index], 0, 0
            for position in range(half_length):
                if half[member, position]:
                    size += 1
                    overlap += mark[ranks[member, position]] == row
            if 3 * overlap > 2 * size:  # strictly, in integers: no rounding decides
                for position in range(half_length):
                    other = ranks[member, position]
                    if half[member, position] and mark[other] != row and mark[other] != added:
                        mark[other] = added
                        collected[total] = other
                        total += 1
        while used + total > len(members):
            members = _larger(members, used)
        members[used : used + total] = np.sort(collected[:total])
        sizes[row - first] = total
        used += total
    return sizes, members[:used].copy()


@compiled
def _expanded_rows(first, last, start, columns, values, nearest):
    """Size of each expanded row, and its columns and values, row after row."""
    count = len(start) - 1
    total = np.zeros(count, np.int32)
    touched = np.empty(count, np.int64)
    sizes, used = np.empty(last - first, np.int64), 0
    out_columns = np.empty(max(16, 64 * (last - first)), np.int64)
    out_values = np.empty(len(out_columns), np.int32)
    for row in range(first, last):
        size = 0
        for position in range(nearest.shape[1]):
            source = nearest[row, position]
            for entry in range(start[source], start[source + 1]):
                column, value = columns[entry], values[entry]
                if value > 0:
                    if total[column] == 0:
                        touched[size] = column
                        size += 1
                    total[column] += value
        while used + size > len(out_columns):
            out_columns, out_values = _larger(out_columns, used), _larger(out_values, used)
        for index in range(size):
            column = touched[index]
            out_columns[used + index], out_values[used + index] = column, total[column]
            total[column] = 0
        sizes[row - first] = size
        used += size
    return sizes, out_columns[:used].copy(), out_values[:used].copy()


@compiled
def _transposed(start, columns, values):
    """The matrix column after column, rows ascending.

    Returns:
        First entry of each column, rows, values, and the new position of each entry.
    """
    count = len(start) - 1
    begin = np.zeros(count + 1, np.int64)
    for entry in range(len(columns)):
        begin[columns[entry] + 1] += 1
    for column in range(count):
        begin[column + 1] += begin[column]
    free = begin[:-1].copy()
    rows, moved = np.empty(len(columns), np.int32), np.empty(len(columns), np.int32)
    position = np.empty(len(columns), np.int64)
    for row in range(count):
        for entry in range(start[row], start[row + 1]):
            target = free[columns[entry]]
            free[columns[entry]] += 1
            rows[target], moved[target], position[entry] = row, values[entry], target
    return begin, rows, moved, position


@compiled
def _near_pairs(
    first, last, start, columns, values, begin, by_column_row, by_column_value, position, eps, one
):
    """First image, second image and distance of the pairs whose first image is in the block."""
    count = len(start) - 1
    total = np.zeros(count, np.int32)  # at most `one`
    touched = np.empty(count, np.int32)
    room, used = max(16, 16 * (last - first)), 0
    out_first, out_second = np.empty(room, np.int32), np.empty(room, np.int32)
    out_distance = np.empty(room, np.float32)
    for row in range(first, last):
        size = 0
        for entry in range(start[row], start[row + 1]):
            value = values[entry]
            for later in range(position[entry] + 1, begin[columns[entry] + 1]):
                other, minimum = by_column_row[later], min(value, by_column_value[later])
                if minimum > 0:
                    if total[other] == 0:
                        touched[size] = other
                        size += 1
                    total[other] += minimum
        while used + size > len(out_first):
            out_first, out_second = _larger(out_first, used), _larger(out_second, used)
            out_distance = _larger(out_distance, used)
        for index in range(size):
            other = touched[index]
            overlap = total[other] / one
            total[other] = 0
            distance = np.float32(max(1.0 - overlap / (2.0 - overlap), 0.0))
            if distance <= eps:
                out_first[used], out_second[used], out_distance[used] = row, other, distance
                used += 1
    return out_first[:used].copy(), out_second[:used].copy(), out_distance[:used].copy()
