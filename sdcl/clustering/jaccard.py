"""k-reciprocal Jaccard distance between all images, exact and sparse, on the device of the features.

Zhong et al., Re-ranking Person Re-identification with k-reciprocal Encoding, CVPR 2017,
https://arxiv.org/abs/1701.08398. The steps, with the section of the paper and its symbol:

    `rank_lists`         the k1 nearest images of each image                   3.2  N(p, k1)
    `reciprocal_sets`    neighbours that rank one another, and theirs          3.2  R*(p, k1)
    `neighbor_weights`   a weight for each neighbour, by its distance          3.3  V
    `query_expansion`    mean of the weights of the k2 nearest images          3.4
    `pair_distances`     1 - sum of minima / sum of maxima of two rows of V    3.3  d_J

Nothing N x N is ever dense: memory is O(N k1). The second, fourth and fifth step exist as compiled loops for
the CPU (`jaccard_cpu.py`) and in PyTorch for the GPU (`jaccard_gpu.py`); both count in the same integers and
agree to the bit.

Legend: N images, D dimensions, k entries of a rank list, E stored weights, P pairs.
"""

from __future__ import annotations

import warnings
from types import ModuleType

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from sdcl.clustering import jaccard_cpu, jaccard_gpu
from sdcl.clustering.neighbors import exact_float32, rank_lists
from sdcl.clustering.sparse import NearPairs, SparseMatrix, distance_from_overlap, fixed_point, sparse_matrix
from sdcl.runtime.errors import SettingError
from sdcl.runtime.validation import as_features
from sdcl.runtime.work_sharing import Share, with_idle_ranks


@torch.no_grad()
def jaccard_distance(
    features: Tensor, k1: int = 30, k2: int = 6, *, backend: str = "torch", share: Share = with_idle_ranks
) -> sp.csr_array:
    """Sparse Jaccard distance between all images.

    The arithmetic is that of the released ADCA, GUR and SDCL code, which differs from the paper: the rank
    lists hold k1 entries with the image itself among them, the smaller sets are made from round-half-even(k1
    / 2) + 1 entries, and weights are a softmax of -(2 - 2 x_i.x_j) whatever the norms are.

    Args:
        features: float32 (N, D); unit rows, except for GUR's association embeddings.
        k1: length of the rank lists.
        k2: images averaged by the local query expansion; 1 switches it off.
        backend: of the neighbour search, see `nearest_neighbors`.
        share: who searches the neighbours, see `nearest_neighbors`: within `once` the waiting ranks take
            part.

    Returns:
        float32 (N, N) CSR, symmetric. Pairs that are not stored share no neighbour: their distance is exactly
        1.

    Raises:
        ValueError: features are not a non-empty matrix.
        SettingError: k1 or k2 below 1, or the backend is unknown or not installed.
        TrainingError: features are not finite.
    """
    features = as_features("features", features)
    return distance_matrix(image_weights(features, k1, k2, backend=backend, share=share))


def distance_matrix(weights: SparseMatrix) -> sp.csr_array:
    """Jaccard distance of all rows of the weights: `pair_distances` in both triangles, and the diagonal. See `jaccard_distance`."""
    count, upper = len(weights.start) - 1, pair_distances(weights)
    mass = torch.zeros(count, dtype=torch.long, device=weights.start.device)
    mass.index_add_(0, weights.rows, weights.values.long())
    diagonal = np.arange(count, dtype=np.int32)
    values = np.concatenate((upper.distance, upper.distance, distance_from_overlap(mass).cpu().numpy()))
    rows = np.concatenate((upper.first, upper.second, diagonal))
    columns = np.concatenate((upper.second, upper.first, diagonal))
    return sp.coo_array((values, (rows, columns)), shape=(count, count)).tocsr()


def near_pairs(
    features: Tensor, k1: int, k2: int, eps: float, *, backend: str = "torch", share: Share = with_idle_ranks
) -> NearPairs:
    """The pairs of `jaccard_distance` that are at most eps apart, O(N k1) of them: all that clustering needs.

    Arguments and errors as those of `jaccard_distance`, with features already float32 (N, D).
    """
    return pair_distances(image_weights(features, k1, k2, backend=backend, share=share), eps)


@torch.no_grad()
def image_weights(
    features: Tensor, k1: int, k2: int, *, backend: str = "torch", share: Share = with_idle_ranks
) -> SparseMatrix:
    """Expanded weights V of each image's neighbours, int32 in fixed point; a row sums to `sparse.ONE`.

    Arguments and errors as those of `near_pairs`; shares the neighbour search as `nearest_neighbors` does.
    """
    if k1 < 1 or k2 < 1:
        raise SettingError(f"--k1 and --k2 must be at least 1, got {k1} and {k2}")
    ranks = rank_lists(features, k1, backend=backend, share=share)
    start, members = reciprocal_sets(ranks, k1)
    weights = neighbor_weights(features, start, members)
    return query_expansion(weights, ranks[:, :k2])


def reciprocal_sets(ranks: Tensor, k1: int) -> tuple[Tensor, Tensor]:
    """Section 3.2, R*(p, k1): reciprocal neighbours R(p, k1), enlarged by the half-length sets of members.

    The set R(q, k1 / 2) of a member q is added where more than two thirds of it lie in R(p, k1) (the paper:
    at least).

    Args:
        ranks: int64 (N, k), the image itself first.

    Returns:
        start int64 (N + 1,), first member of each image; members int64 (E,), ascending within an image.
    """
    half_length = min(round(k1 / 2) + 1, ranks.shape[1])  # rounds half to even, as the released code does
    return _kernels(ranks.device).reciprocal_sets(ranks, half_length)


def neighbor_weights(features: Tensor, start: Tensor, members: Tensor) -> SparseMatrix:
    """Section 3.3, V: softmax of -(2 - 2 x_i.x_j) over the members j of each image i. -> float64 values."""
    exponent = 2 * _products(features, start, members).double() - 2  # (E,)
    exponents = sparse_matrix(start, members, exponent)
    largest = torch.full((len(features),), -torch.inf, dtype=torch.float64, device=features.device)
    largest.scatter_reduce_(0, exponents.rows, exponent, "amax")
    weight = (exponent - largest[exponents.rows]).exp()
    total = torch.segment_reduce(weight, "sum", offsets=start)  # every row holds at least the image itself
    return exponents._replace(values=weight / total[exponents.rows])


def query_expansion(weights: SparseMatrix, nearest: Tensor) -> SparseMatrix:
    """Section 3.4: each row becomes the mean of the rows of its nearest images.

    Args:
        weights: float64 (N, N), rows that sum to 1.
        nearest: int64 (N, k2), the image itself first; one column leaves the weights as they are.

    Returns:
        int32 (N, N) in fixed point.
    """
    shares = fixed_point(weights, nearest.shape[1])
    return shares if nearest.shape[1] == 1 else _kernels(nearest.device).query_expansion(shares, nearest)


def pair_distances(weights: SparseMatrix, eps: float = 1.0) -> NearPairs:
    """Section 3.3, d_J of all pairs i < j that are at most eps apart.

    d_J = 1 - s / (2 - s) with s_ij = sum_l min(V_il, V_jl). Pairs without a common l are left out: their
    distance is 1.

    Args:
        weights: int32 (N, N) in fixed point, rows that sum to 1.
    """
    return _kernels(weights.start.device).pair_distances(weights, eps)


def _kernels(device: torch.device) -> ModuleType:
    return jaccard_cpu if device.type == "cpu" else jaccard_gpu


def _products(features: Tensor, start: Tensor, columns: Tensor) -> Tensor:
    """x_i.x_j at each entry (E,), without gathering E x D numbers."""
    with warnings.catch_warnings(), exact_float32(features.device):
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta state")
        shape = (len(features), len(features))
        empty = torch.sparse_csr_tensor(
            start, columns, features.new_zeros(len(columns)), shape, check_invariants=False
        )
        return torch.sparse.sampled_addmm(empty, features, features.T, beta=0).values()
