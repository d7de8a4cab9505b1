"""k-reciprocal Jaccard distance (Zhong et al., CVPR 2017), exact and sparse, on the device of the features.

    rank lists -> member sets -> weights -> query expansion -> distances of near pairs

On a host the sets, the expansion and the pairs are compiled loops (`host.py`); on a device they are the torch code of this file.

Two images are near when they are named by the same reciprocal neighbours. Nothing N x N is ever dense: memory is O(N k).
Weights and their sums are integers (fixed point), so that neither the order of a sum nor the device can change a bit.

N images, D dimensions, k entries of a rank list, h of a half list, E weights of all images, c rows of one chunk, T terms of
a chunk. A cell is row * N + column, the row counted within its chunk.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from sdcl.clustering import jaccard_cpu
from sdcl.clustering.neighbors import exact_float32, rank_lists
from sdcl.runtime.validation import as_features

ONE = 2**30  # fixed point of a weight and of a row's sum
TERMS, CELLS = 2**25, 2**28  # of one chunk on a device: about 1 GB each


class Rows(NamedTuple):
    """A sparse (N, N) matrix, its entries row after row.

    Args:
        start: int64 (N + 1,), first entry of each row. rows, columns: int64 (E,). values: (E,).
    """

    start: Tensor
    rows: Tensor
    columns: Tensor
    values: Tensor


class Pairs(NamedTuple):
    """Pairs of images row < column, (P,) each, and their distances, on the host."""

    rows: np.ndarray
    columns: np.ndarray
    distance: np.ndarray


@torch.no_grad()
def jaccard_distance(features: Tensor, k1: int = 30, k2: int = 6, *, backend: str = "torch") -> sp.csr_array:
    """Sparse Jaccard distance between all images.

    The family's released arithmetic: the rank lists hold k1 entries with the image itself among them, the half set
    uses round-half-even(k1 / 2) + 1 entries, weights are a softmax of -(2 - 2 x_i.x_j) whatever the norms.

    Args:
        features: float32 (N, D); unit rows, except for association embeddings (GUR).
        k1: length of the rank lists. k2: entries averaged by the local query expansion; 1 switches it off.
        backend: of the neighbour search, see `nearest_neighbors`.

    Returns:
        float32 (N, N) CSR, symmetric. Pairs that are not stored share no neighbour: their distance is exactly 1.
    """
    features = as_features("features", features)
    weights = image_weights(features, k1, k2, backend=backend)
    count = len(features)
    upper = distance_pairs(weights)
    mass = torch.zeros(count, dtype=torch.long, device=features.device).index_add_(0, weights.rows, weights.values.long())
    own = np.arange(count, dtype=np.int32)
    values = np.concatenate((upper.distance, upper.distance, _distance(mass).cpu().numpy()))
    rows, columns = np.concatenate((upper.rows, upper.columns, own)), np.concatenate((upper.columns, upper.rows, own))
    return sp.coo_array((values, (rows, columns)), shape=(count, count)).tocsr()


def near_pairs(features: Tensor, k1: int, k2: int, eps: float, *, backend: str = "torch") -> Pairs:
    """The pairs of `jaccard_distance` at most eps apart: all that clustering needs, O(N k) of them."""
    return distance_pairs(image_weights(features, k1, k2, backend=backend), eps)


@torch.no_grad()
def image_weights(features: Tensor, k1: int, k2: int, *, backend: str = "torch") -> Rows:
    """V: what each image says of which others, fixed point (int32, a row sums to `ONE`), after the query expansion."""
    if k1 < 1 or k2 < 1:
        raise ValueError(f"--k1 and --k2 must be at least 1, got {k1} and {k2}")
    features = as_features("features", features)
    ranks = rank_lists(features, k1, backend=backend)
    k2 = min(k2, ranks.shape[1])
    weights = neighbor_weights(features, *member_sets(ranks, k1))
    shares = weights._replace(values=(weights.values * (ONE / k2)).round().int())
    return shares if k2 == 1 else query_expansion(shares, ranks[:, :k2])


def member_sets(ranks: Tensor, k1: int) -> tuple[Tensor, Tensor]:
    """Reciprocal sets A, enlarged by the half sets H_c of members c that lie in them by more than two thirds.

    Args:
        ranks: int64 (N, k), the image itself first.

    Returns:
        int64 (N + 1,) first member of each row, and (E,) the members, ascending within a row.
    """
    half_length = min(round(k1 / 2) + 1, ranks.shape[1])  # Python rounds half to even, as the released code does
    if ranks.device.type == "cpu":
        return tuple(map(torch.from_numpy, jaccard_cpu.member_sets(ranks.contiguous().numpy(), half_length)))
    return device_member_sets(ranks, half_length)


def query_expansion(weights: Rows, nearest: Tensor) -> Rows:
    """Row i <- sum of the rows nearest[i] (N, k2) of int32 shares."""
    if nearest.device.type != "cpu":
        return device_query_expansion(weights, nearest)
    found = jaccard_cpu.query_expansion(*_arrays(weights), nearest.contiguous().numpy())
    return _rows(*map(torch.from_numpy, found))


def distance_pairs(weights: Rows, eps: float = 1.0) -> Pairs:
    """1 - s / (2 - s) with s_ij = sum_l min(V_il, V_jl), at every pair i < j with a common l, at most eps apart."""
    if weights.start.device.type != "cpu":
        return device_distance_pairs(weights, eps)
    return Pairs(*jaccard_cpu.distance_pairs(*_arrays(weights), eps, ONE))


def _arrays(weights: Rows) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return weights.start.numpy(), weights.columns.numpy(), weights.values.numpy()


def _rows(start: Tensor, columns: Tensor, values: Tensor) -> Rows:
    rows = torch.repeat_interleave(torch.arange(len(start) - 1, device=start.device), start.diff())
    return Rows(start, rows, columns, values)


def device_member_sets(ranks: Tensor, half_length: int) -> tuple[Tensor, Tensor]:
    """`member_sets` on a device."""
    count, k = ranks.shape
    step = max(1, TERMS // (k * k))
    parts = [slice(first, min(first + step, count)) for first in range(0, count, step)]
    mutual = [_mutual(ranks, part, half_length) for part in parts]
    full, half = (torch.cat(column) for column in zip(*mutual, strict=True))  # (N, k) A, (N, h) H, as masks of the lists
    inside = torch.zeros(step * count, dtype=torch.bool, device=ranks.device)
    cells = torch.cat([part.start * count + _enlarged(ranks, full, half, part, inside) for part in parts])
    return _starts(cells // count, count), cells % count


def _mutual(ranks: Tensor, part: slice, half_length: int) -> tuple[Tensor, Tensor]:
    """(c, k) and (c, h): is entry j of list i reciprocal, in the full lists and in the half ones."""
    own = torch.arange(part.start, part.stop, device=ranks.device)
    back = ranks[ranks[part]] == own[:, None, None]  # (c, k, k)
    return back.any(2), back[:, :half_length, :half_length].any(2)


def _enlarged(ranks: Tensor, full: Tensor, half: Tensor, part: slice, inside: Tensor) -> Tensor:
    """Sorted cells of the enlarged sets of a chunk. `inside` (at least c * N) is all False before and after."""
    listed, members = ranks[part], full[part]  # (c, k)
    base = torch.arange(len(listed), device=ranks.device) * len(ranks)  # (c,)
    own = (base[:, None] + listed)[members]
    row, place = members.nonzero(as_tuple=True)  # (A,): member c of row i
    member = listed[row, place]
    cell = base[row, None] + ranks[member, : half.shape[1]]  # (A, h): the half set of c, in the row of i
    belongs = half[member]
    inside[own] = True
    overlap = (inside[cell] & belongs).sum(1)  # |H_c ∩ A_i|
    inside[own] = False
    accepted = 3 * overlap > 2 * belongs.sum(1)  # strictly, in integers: no rounding decides
    return torch.cat((own, cell[belongs & accepted[:, None]])).unique()


def neighbor_weights(features: Tensor, start: Tensor, columns: Tensor) -> Rows:
    """Softmax of -(2 - 2 x_i.x_j) over each row's members. -> float64 values."""
    count = len(features)
    _, rows, columns, _ = weights = _rows(start, columns, columns)
    exponent = 2 * _products(features, start, columns).double() - 2  # (E,)
    largest = torch.full((count,), -torch.inf, dtype=torch.float64, device=features.device).scatter_reduce_(0, rows, exponent, "amax")
    weight = (exponent - largest[rows]).exp()
    total = torch.segment_reduce(weight, "sum", offsets=start)  # every row holds at least the image itself
    return weights._replace(values=weight / total[rows])


def _products(features: Tensor, start: Tensor, columns: Tensor) -> Tensor:
    """x_i.x_j at each entry (E,), without gathering E x D numbers."""
    features = features.float()
    with warnings.catch_warnings(), exact_float32(features.device):
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta state")
        shape = (len(features), len(features))
        empty = torch.sparse_csr_tensor(start, columns, features.new_zeros(len(columns)), shape, check_invariants=False)
        return torch.sparse.sampled_addmm(empty, features, features.T, beta=0).values()


def device_query_expansion(weights: Rows, nearest: Tensor) -> Rows:
    """`query_expansion` on a device."""
    count = len(nearest)
    size = weights.start.diff()[nearest]  # (N, k2)
    sums = _Sums(weights.start.device, count)
    parts = []
    for first, last in _chunks(size.sum(1), sums):
        source, entry = _ragged(weights.start[nearest[first:last]].flatten(), size[first:last].flatten())
        cell = source // nearest.shape[1] * count + _take(weights.columns, entry)
        cell, value = sums(cell, _take(weights.values, entry))
        parts.append((cell // count + first, cell % count, value))
    rows, columns, values = (torch.cat(column) for column in zip(*parts, strict=True))
    return Rows(_starts(rows, count), rows, columns, values)


def device_distance_pairs(weights: Rows, eps: float = 1.0) -> Pairs:
    """`distance_pairs` on a device."""
    count = len(weights.start) - 1
    columns, order = weights.columns.sort(stable=True)  # column after column, its rows ascending
    later_row, later_value = weights.rows[order], weights.values[order]
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order), device=order.device)
    end = _starts(columns, count)[1:]
    size = end[weights.columns] - place - 1  # (E,): entries of the same column in later rows
    work = torch.zeros(count, dtype=torch.long, device=size.device).index_add_(0, weights.rows, size)
    sums = _Sums(size.device, count)
    parts = []
    for first, last in _chunks(work, sums):
        span = slice(int(weights.start[first]), int(weights.start[last]))
        source, entry = _ragged(place[span] + 1, size[span])
        cell = _take((weights.rows[span] - first) * count, source) + _take(later_row, entry)
        cell, shared = sums(cell, torch.minimum(_take(weights.values[span], source), _take(later_value, entry)))
        distance = _distance(shared)
        near = distance <= eps
        cell = cell[near]
        parts.append(((cell // count + first).int().cpu(), (cell % count).int().cpu(), distance[near].cpu()))
    return Pairs(*(torch.cat(column).numpy() for column in zip(*parts, strict=True)))


def _distance(shared: Tensor) -> Tensor:
    """Fixed-point s -> float32 Jaccard distance."""
    s = shared.double() / ONE
    return (1 - s / (2 - s)).clamp_min(0).float()


class _Sums:
    """Integer sums by cell, over the cells of c rows of N; the buffers are reused from chunk to chunk."""

    def __init__(self, device: torch.device, count: int):
        self.max_rows = max(1, CELLS // count)
        self.count = count
        self.total = torch.zeros(0, dtype=torch.int32, device=device)
        self.owner = torch.empty(0, dtype=torch.int32, device=device)

    def __call__(self, cell: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Cells int64 (T,) and values int32 (T,), row after row -> distinct cells and their sums, row after row."""
        self.total.scatter_add_(0, cell, value)
        position = torch.arange(len(cell), dtype=torch.int32, device=cell.device)
        self.owner.scatter_(0, cell, position)  # one term of each cell wins: no sort is needed
        cell = cell.masked_select(self.owner.gather(0, cell) == position)
        shared = self.total.gather(0, cell)
        self.total.scatter_(0, cell, 0)
        return cell, shared


def _chunks(work: Tensor, sums: _Sums) -> Iterator[tuple[int, int]]:
    """Consecutive rows with at most TERMS terms (N,) together, one row at least; sizes the buffers of `sums`."""
    until = np.concatenate(([0], work.cumsum(0).cpu().numpy()))
    count, first = len(work), 0
    size = min(count, sums.max_rows) * count
    sums.total = sums.total.new_zeros(size)
    sums.owner = sums.owner.new_empty(size)
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


def _take(values: Tensor, at: Tensor) -> Tensor:
    """values[at] in one dimension; several times faster than indexing on a host."""
    return values.index_select(0, at)


def _starts(rows: Tensor, count: int) -> Tensor:
    """Ascending rows (E,) -> (N + 1,) first entry of each."""
    return torch.searchsorted(rows, torch.arange(count + 1, device=rows.device))
