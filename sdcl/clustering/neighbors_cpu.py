"""Lists of nearest neighbours in compiled loops, for features on the CPU; neighbors_gpu.py uses PyTorch.

Legend: N images, k entries of a list. `product` (rows, N - first) holds x_i.x_j of the images i of a strip
and all images j from the strip on; `first` is the first image of the strip.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from sdcl.runtime.numba_loops import compiled, in_blocks

RUN = 64  # products that are compared together, without a branch: hardly any is near enough for a list


def merge_products(best: Tensor, ranks: Tensor, product: Tensor, squared: Tensor, first: int) -> None:
    """Merge a strip of products into the lists of its rows and of its columns, in place.

    Of equally distant images the first stays, as long as strips come in the order of their rows.

    Args:
        best: float32 (N, k), |x_j|^2 - 2 x_i.x_j of the listed images, ascending. ranks: int64 (N, k), the
            listed images.
        product: float32 (rows, N - first). squared: float32 (N,), |x_j|^2. first: first image of the strip.
    """
    rows = len(product)
    arrays = (product.numpy(), squared.numpy(), first, best.numpy(), ranks.numpy())
    in_blocks(_merge_rows_into_columns, len(best) - first - rows, *arrays)
    in_blocks(_merge_columns_into_rows, rows, *arrays)


@compiled
def _insert(best, ranks, row, distance, image):
    """Insert an image into the ascending list of a row, behind those as near; the farthest entry leaves."""
    position = best.shape[1] - 1
    while position > 0 and best[row, position - 1] > distance:
        best[row, position], ranks[row, position] = best[row, position - 1], ranks[row, position - 1]
        position -= 1
    best[row, position], ranks[row, position] = distance, image


@compiled
def _merge_rows_into_columns(begin, end, product, squared, first, best, ranks):
    """The images of the strip into the lists `begin` to `end - 1` of the images behind it."""
    rows, farthest, two = len(product), best.shape[1] - 1, np.float32(2)  # a Python 2 would make it float64
    limit = best[first + rows + begin : first + rows + end, farthest].copy()  # a distance to be below
    for row in range(rows):
        square, line = squared[first + row], product[row, rows + begin : rows + end]
        for run in range(0, len(line), RUN):
            products, limits, near = line[run : run + RUN], limit[run : run + RUN], np.int32(0)
            for index in range(len(products)):
                near += np.int32(square - two * products[index] < limits[index])
            if near > 0:
                for index in range(len(products)):
                    distance = square - two * products[index]
                    if distance < limits[index]:
                        image = first + rows + begin + run + index
                        _insert(best, ranks, image, distance, first + row)
                        limits[index] = best[image, farthest]


@compiled
def _merge_columns_into_rows(begin, end, product, squared, first, best, ranks):
    """All images from the strip on into the lists of its rows `begin` to `end - 1`.

    An image leads its own list.
    """
    farthest, two = best.shape[1] - 1, np.float32(2)
    for row in range(begin, end):
        image, line = first + row, product[row]
        _insert(best, ranks, image, np.float32(-np.inf), image)
        for run in range(0, len(line), RUN):
            products, squares = line[run : run + RUN], squared[first + run : first + run + RUN]
            limit, near = best[image, farthest], np.int32(0)
            for index in range(len(products)):
                near += np.int32(squares[index] - two * products[index] < limit)
            if near > 0:
                for index in range(len(products)):
                    distance = squares[index] - two * products[index]
                    if distance < best[image, farthest] and run + index != row:
                        _insert(best, ranks, image, distance, first + run + index)
