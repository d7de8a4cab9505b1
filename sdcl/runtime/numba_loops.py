"""Loops over rows for CPU tensors, compiled by Numba and run on a pool of threads.

    @compiled
    def some_rows(first, last, ...): ...      # plain loops over the rows first .. last - 1, returns arrays

    in_blocks(some_rows, count, ...)          # the results of all rows, block after block

Compiled functions release Python's global lock, so that threads are enough. The first call of a function
compiles it, a few seconds; the machine code is cached beside the source, or in Numba's cache folder where
that is not writable.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba
import torch

BLOCKS_PER_THREAD = 8  # rows differ in work: a thread that has finished takes the next block
logging.getLogger("numba").setLevel(logging.WARNING)


def compiled(function: Callable) -> Callable:
    """The function as machine code that is cached on disk where there is a writable folder."""
    try:
        return numba.njit(function, nogil=True, cache=True)
    except RuntimeError:  # Numba has no folder that it may write to
        return numba.njit(function, nogil=True)


def in_blocks(function: Callable, count: int, *arguments: Any) -> list:
    """Results of function(first, last, *arguments) for blocks of the rows 0 .. count - 1, in order.

    Blocks run on as many threads as torch uses.
    """
    threads = torch.get_num_threads()
    step = max(1, -(-count // (threads * BLOCKS_PER_THREAD)))
    blocks = [(first, min(first + step, count)) for first in range(0, count, step)]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(lambda block: function(*block, *arguments), blocks))
