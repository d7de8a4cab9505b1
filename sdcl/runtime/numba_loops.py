"""Loops over rows on the host, compiled by Numba and shared between the threads.

    @compiled
    def some_rows(first, last, ...): ...      # plain loops over the rows first .. last - 1, returns arrays

    in_blocks(some_rows, count, ...)          # its results for all rows, block after block

Compiled functions let go of Python's lock, so a pool of threads is all that is needed. The first call of a function compiles it, a
few seconds; the machine code is kept beside the source, or in Numba's own cache folder where that cannot be written.
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
    """The function as machine code, kept on disk where a folder for that can be found."""
    try:
        return numba.njit(function, nogil=True, cache=True)
    except RuntimeError:  # Numba found no folder that it may write to
        return numba.njit(function, nogil=True)


def in_blocks(function: Callable, count: int, *arguments: Any) -> list:
    """function(first, last, *arguments) for blocks of the rows 0 .. count - 1, in order. As many threads as torch uses."""
    threads = torch.get_num_threads()
    step = max(1, -(-count // (threads * BLOCKS_PER_THREAD)))
    blocks = [(first, min(first + step, count)) for first in range(0, count, step)]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(lambda block: function(*block, *arguments), blocks))
