"""Blocks of rows: every row once, in order, whatever the number of threads."""

import numpy as np
import pytest
import torch

from sdcl.runtime.numba_loops import in_blocks


def rows_of(first, last, factor):
    return np.arange(first, last) * factor


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("count", [0, 1, 7, 1000])
def test_every_row_once_and_in_order(threads, count):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        blocks = in_blocks(rows_of, count, 2)
    finally:
        torch.set_num_threads(before)
    np.testing.assert_array_equal(np.concatenate([*blocks, np.zeros(0, int)]), 2 * np.arange(count))


def test_an_error_of_a_block_is_raised():
    def failing(first, last):
        raise ArithmeticError("in a block")

    with pytest.raises(ArithmeticError, match="in a block"):
        in_blocks(failing, 5)
