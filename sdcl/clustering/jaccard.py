"""k-reciprocal Jaccard distance (Zhong et al., CVPR 2017) as a sparse matrix, exact.

Two images are near when they are named by the same reciprocal neighbours. Nothing N x N is ever dense: memory is O(N k).
N images, D dimensions, E non-zero weights of all images together.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from sdcl.clustering.neighbors import nearest_neighbors

MAX_PAIRS = 8_000_000  # (weight, weight) pairs that the min-sum expands at once: about 200 MB
MAX_CELLS = 16_000_000  # cells of the accumulator (rows x N): 128 MB


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
    if k1 < 1 or k2 < 1:
        raise ValueError(f"--k1 and --k2 must be at least 1, got {k1} and {k2}")
    ranks = nearest_neighbors(features, k1, backend=backend)
    weights = _neighbor_weights(features, _expanded_reciprocal_sets(ranks, k1))
    if k2 > 1:
        nearest = _indicator(ranks[:, :k2])
        weights = (nearest @ weights).tocsr() / np.float32(min(k2, ranks.shape[1]))
    return _min_sum_distance(weights)


def _indicator(ranks: np.ndarray) -> sp.csr_array:
    """(N, k) lists -> (N, N) matrix of ones."""
    count, k = ranks.shape
    ones = np.ones(count * k, np.float32)
    return sp.csr_array((ones, ranks.ravel(), np.arange(0, count * k + 1, k)), shape=(count, count))


def _reciprocal_sets(ranks: np.ndarray, k: int) -> sp.csr_array:
    """N(i, k): those among the first k of i that have i among their own first k."""
    listed = _indicator(ranks[:, :k])
    return listed.multiply(listed.T).tocsr()


def _expanded_reciprocal_sets(ranks: np.ndarray, k1: int) -> sp.csr_array:
    """Reciprocal sets, enlarged by the half sets of members that lie in them by more than two thirds."""
    full = _reciprocal_sets(ranks, k1)  # A
    half = _reciprocal_sets(ranks, round(k1 / 2) + 1)  # H; Python rounds half to even, as the released code does
    size = np.diff(half.indptr)  # |H_c|
    overlap = full.multiply(full @ half.T).tocoo()  # |H_c ∩ A_i| at (i, c), c in A_i
    accepted = 3 * overlap.data.astype(np.int64) > 2 * size[overlap.col]  # strictly, in integers: no rounding decides
    joined = sp.csr_array((overlap.data[accepted], (overlap.row[accepted], overlap.col[accepted])), shape=full.shape)
    return (full + joined @ half).tocsr()


def _neighbor_weights(features: Tensor, members: sp.csr_array) -> sp.csr_array:
    """Softmax of -(2 - 2 x_i.x_j) over each row's members. -> (N, N) CSR, rows sum to 1."""
    rows = np.repeat(np.arange(members.shape[0]), np.diff(members.indptr))  # (E,)
    rows_t = torch.as_tensor(rows, device=features.device)
    columns_t = torch.as_tensor(members.indices, dtype=torch.long, device=features.device)
    step = max(1, 64_000_000 // features.shape[1])
    products = [(features[r].float() * features[c].float()).sum(1) for r, c in zip(rows_t.split(step), columns_t.split(step))]
    exponent = 2 * torch.cat(products).cpu().numpy().astype(np.float64) - 2
    largest = np.maximum.reduceat(exponent, members.indptr[:-1])  # every row holds at least the image itself
    weight = np.exp(exponent - largest[rows])
    weight /= np.add.reduceat(weight, members.indptr[:-1])[rows]
    return sp.csr_array((weight.astype(np.float32), members.indices, members.indptr), shape=members.shape)


def _min_sum_distance(weights: sp.csr_array) -> sp.csr_array:
    """1 - s / (2 - s) with s_ij = sum_l min(V_il, V_jl), at every pair with a common l."""
    count = weights.shape[0]
    by_column = weights.tocsc()
    column_size = np.diff(by_column.indptr)
    row_pairs = np.add.reduceat(column_size[weights.indices], weights.indptr[:-1])  # work of each row
    parts = []
    for first, last in _row_chunks(row_pairs, max(1, MAX_CELLS // count)):
        parts.append(_distance_rows(weights, by_column, column_size, first, last))
    return sp.vstack(parts, format="csr") if len(parts) > 1 else parts[0]


def _row_chunks(row_pairs: np.ndarray, max_rows: int) -> list[tuple[int, int]]:
    chunks, first, pairs = [], 0, 0
    for row, work in enumerate(row_pairs.tolist()):
        if row > first and (pairs + work > MAX_PAIRS or row - first >= max_rows):
            chunks.append((first, row))
            first, pairs = row, 0
        pairs += work
    return [*chunks, (first, len(row_pairs))]


def _distance_rows(weights: sp.csr_array, by_column: sp.csc_array, column_size: np.ndarray, first: int, last: int) -> sp.csr_array:
    """Rows first..last-1 of the distance: expand each weight V_il into its pairs with the whole column l."""
    count = weights.shape[0]
    span = slice(weights.indptr[first], weights.indptr[last])
    columns, values = weights.indices[span], weights.data[span]
    rows = np.repeat(np.arange(last - first), np.diff(weights.indptr[first : last + 1]))
    sizes = column_size[columns]
    starts = np.cumsum(sizes) - sizes
    inside = np.arange(sizes.sum()) - np.repeat(starts, sizes)  # position within its column
    partner = np.repeat(by_column.indptr[columns], sizes) + inside  # entry (j, l) of the column-wise copy
    smaller = np.minimum(np.repeat(values, sizes), by_column.data[partner])
    cell = np.repeat(rows.astype(np.int64) * count, sizes) + by_column.indices[partner]
    shared = np.bincount(cell, smaller, minlength=(last - first) * count)  # float64
    stored = np.flatnonzero(shared)
    s = shared[stored].astype(np.float32)
    distance = np.maximum(1 - s / (2 - s), 0)
    indptr = np.searchsorted(stored, np.arange(last - first + 1) * count)
    return sp.csr_array((distance, stored % count, indptr), shape=(last - first, count))
