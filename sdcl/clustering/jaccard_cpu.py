"""Neighbour lists and the sparse steps of the Jaccard distance as compiled loops: what `neighbors.py` and `jaccard.py` do in torch on a device.

The sparse steps count in the same integers, so their bits are the same. N images, k entries of a rank list, E weights of all images; `start` (N + 1,) is the first
entry of each row of a sparse matrix.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from sdcl.runtime.numba_loops import compiled, in_blocks

RUN = 64  # products that are compared together, without a branch: hardly any is near enough for a list


def offer(best: Tensor, ranks: Tensor, product: Tensor, squared: Tensor, first: int) -> None:
    """`neighbors.device_offer` on the host: products (rows, N - first) to the lists of their rows and columns, in place.

    Of equally distant images the first stays, as long as strips come in the order of their rows.
    """
    rows, arrays = len(product), (product.numpy(), squared.numpy(), first, best.numpy(), ranks.numpy())
    in_blocks(_offer_columns, len(best) - first - rows, *arrays)
    in_blocks(_offer_rows, rows, *arrays)


def member_sets(ranks: np.ndarray, half_length: int) -> tuple[np.ndarray, np.ndarray]:
    """Enlarged reciprocal sets from the rank lists (N, k) -> start, members int64 (E,), ascending within a row."""
    half = np.concatenate(in_blocks(_half_rows, len(ranks), ranks, half_length))
    return _joined(in_blocks(_member_rows, len(ranks), ranks, half))


def query_expansion(start: np.ndarray, columns: np.ndarray, values: np.ndarray, nearest: np.ndarray) -> tuple[np.ndarray, ...]:
    """Row i <- sum of the rows nearest[i] (N, k2) of fixed-point shares -> start, columns int64 (E',), values int32 (E',)."""
    return _joined(in_blocks(_expanded_rows, len(nearest), start, columns, values, nearest))


def distance_pairs(start: np.ndarray, columns: np.ndarray, values: np.ndarray, eps: float, one: int) -> tuple[np.ndarray, ...]:
    """Rows, columns (int32) and Jaccard distance (float32) of the pairs row < column with a common column, at most eps apart."""
    by_column = _transposed(start, columns, values)
    parts = in_blocks(_near_rows, len(start) - 1, start, columns, values, *by_column, np.float32(eps), one)
    return tuple(np.concatenate(column) for column in zip(*parts, strict=True))


def _joined(parts: list[tuple[np.ndarray, ...]]) -> tuple[np.ndarray, ...]:
    """(sizes of rows, entries ...) of consecutive blocks -> start, entries ..."""
    sizes, *entries = (np.concatenate(column) for column in zip(*parts, strict=True))
    return np.concatenate((np.zeros(1, np.int64), np.cumsum(sizes))), *entries


@compiled
def _insert(best, ranks, row, distance, image):
    """Into the ascending list of a row, behind what is as near; the farthest entry leaves."""
    place = best.shape[1] - 1
    while place > 0 and best[row, place - 1] > distance:
        best[row, place], ranks[row, place] = best[row, place - 1], ranks[row, place - 1]
        place -= 1
    best[row, place], ranks[row, place] = distance, image


@compiled
def _offer_columns(begin, end, product, squared, first, best, ranks):
    """The images of the strip to the lists of images behind it, `begin` to `end` of those."""
    rows, farthest, two = len(product), best.shape[1] - 1, np.float32(2)  # a Python 2 would make it float64
    limit = best[first + rows + begin : first + rows + end, farthest].copy()  # to be beaten
    for row in range(rows):
        own, line = squared[first + row], product[row, rows + begin : rows + end]
        for run in range(0, len(line), RUN):
            some, bar, near = line[run : run + RUN], limit[run : run + RUN], np.int32(0)
            for at in range(len(some)):
                near += np.int32(own - two * some[at] < bar[at])
            if near > 0:
                for at in range(len(some)):
                    distance = own - two * some[at]
                    if distance < bar[at]:
                        image = first + rows + begin + run + at
                        _insert(best, ranks, image, distance, first + row)
                        bar[at] = best[image, farthest]


@compiled
def _offer_rows(begin, end, product, squared, first, best, ranks):
    """All images from the strip on to the lists of its rows `begin` to `end`; an image leads its own list."""
    farthest, two = best.shape[1] - 1, np.float32(2)
    for row in range(begin, end):
        image, line = first + row, product[row]
        _insert(best, ranks, image, np.float32(-np.inf), image)
        for run in range(0, len(line), RUN):
            some, length, limit = line[run : run + RUN], squared[first + run : first + run + RUN], best[image, farthest]
            near = np.int32(0)
            for at in range(len(some)):
                near += np.int32(length[at] - two * some[at] < limit)
            if near > 0:
                for at in range(len(some)):
                    distance = length[at] - two * some[at]
                    if distance < best[image, farthest] and run + at != row:
                        _insert(best, ranks, image, distance, first + run + at)


@compiled
def _larger(array, used):
    """The array with room for twice as many entries, the first `used` kept."""
    result = np.empty(2 * len(array), array.dtype)
    result[:used] = array[:used]
    return result


@compiled
def _named_back(ranks, image, other, length):
    """Is `image` among the first `length` entries of the other's list?"""
    place = 0
    while place < length and ranks[other, place] != image:
        place += 1
    return place < length


@compiled
def _half_rows(first, last, ranks, half_length):
    """bool (rows, h): is entry j of the half list reciprocal among half lists?"""
    mutual = np.empty((last - first, half_length), np.bool_)
    for row in range(first, last):
        for place in range(half_length):
            mutual[row - first, place] = _named_back(ranks, row, ranks[row, place], half_length)
    return mutual


@compiled
def _member_rows(first, last, ranks, half):
    (count, k), half_length = ranks.shape, half.shape[1]
    mark = np.full(count, -1, np.int64)  # the row that an image was last found in
    found = np.empty(k + k * half_length, np.int64)
    sizes, used = np.empty(last - first, np.int64), 0
    members = np.empty(max(16, (last - first) * k), np.int64)
    for row in range(first, last):
        own = 0
        for place in range(k):
            other = ranks[row, place]
            if _named_back(ranks, row, other, k):
                found[own] = other
                mark[other] = row
                own += 1
        total = own
        marked = 2 * count + row  # members that the half sets bring in, which do not count as A
        for at in range(own):
            member, size, overlap = found[at], 0, 0
            for place in range(half_length):
                if half[member, place]:
                    size += 1
                    overlap += mark[ranks[member, place]] == row
            if 3 * overlap > 2 * size:  # strictly, in integers: no rounding decides
                for place in range(half_length):
                    other = ranks[member, place]
                    if half[member, place] and mark[other] != row and mark[other] != marked:
                        mark[other] = marked
                        found[total] = other
                        total += 1
        while used + total > len(members):
            members = _larger(members, used)
        members[used : used + total] = np.sort(found[:total])
        sizes[row - first] = total
        used += total
    return sizes, members[:used].copy()


@compiled
def _expanded_rows(first, last, start, columns, values, nearest):
    count = len(start) - 1
    total = np.zeros(count, np.int32)
    touched = np.empty(count, np.int64)
    sizes, used = np.empty(last - first, np.int64), 0
    out_columns = np.empty(max(16, 64 * (last - first)), np.int64)
    out_values = np.empty(len(out_columns), np.int32)
    for row in range(first, last):
        size = 0
        for place in range(nearest.shape[1]):
            source = nearest[row, place]
            for entry in range(start[source], start[source + 1]):
                column, value = columns[entry], values[entry]
                if value > 0:
                    if total[column] == 0:
                        touched[size] = column
                        size += 1
                    total[column] += value
        while used + size > len(out_columns):
            out_columns, out_values = _larger(out_columns, used), _larger(out_values, used)
        for at in range(size):
            column = touched[at]
            out_columns[used + at], out_values[used + at] = column, total[column]
            total[column] = 0
        sizes[row - first] = size
        used += size
    return sizes, out_columns[:used].copy(), out_values[:used].copy()


@compiled
def _transposed(start, columns, values):
    """Column after column, rows ascending: first entry of each column, rows, values; and where an entry of the rows went."""
    count = len(start) - 1
    begin = np.zeros(count + 1, np.int64)
    for entry in range(len(columns)):
        begin[columns[entry] + 1] += 1
    for column in range(count):
        begin[column + 1] += begin[column]
    free = begin[:-1].copy()
    rows, moved, place = np.empty(len(columns), np.int32), np.empty(len(columns), np.int32), np.empty(len(columns), np.int64)
    for row in range(count):
        for entry in range(start[row], start[row + 1]):
            to = free[columns[entry]]
            free[columns[entry]] += 1
            rows[to], moved[to], place[entry] = row, values[entry], to
    return begin, rows, moved, place


@compiled
def _near_rows(first, last, start, columns, values, begin, by_column_row, by_column_value, place, eps, one):
    count = len(start) - 1
    total = np.zeros(count, np.int32)  # at most `one`
    touched = np.empty(count, np.int32)
    room, used = max(16, 16 * (last - first)), 0
    out_row, out_column, out_distance = np.empty(room, np.int32), np.empty(room, np.int32), np.empty(room, np.float32)
    for row in range(first, last):
        size = 0
        for entry in range(start[row], start[row + 1]):
            value = values[entry]
            for later in range(place[entry] + 1, begin[columns[entry] + 1]):
                other, shared = by_column_row[later], min(value, by_column_value[later])
                if shared > 0:
                    if total[other] == 0:
                        touched[size] = other
                        size += 1
                    total[other] += shared
        while used + size > len(out_row):
            out_row, out_column, out_distance = _larger(out_row, used), _larger(out_column, used), _larger(out_distance, used)
        for at in range(size):
            other = touched[at]
            overlap = total[other] / one
            total[other] = 0
            distance = np.float32(max(1.0 - overlap / (2.0 - overlap), 0.0))
            if distance <= eps:
                out_row[used], out_column[used], out_distance[used] = row, other, distance
                used += 1
    return out_row[:used].copy(), out_column[:used].copy(), out_distance[:used].copy()
