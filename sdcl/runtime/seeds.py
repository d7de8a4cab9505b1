"""Seeds of random streams, derived from the numbers that name a stream.

Every random number of a run is a function of such a name (seed, epoch, stage, step, ...), so no generator has
a state that a checkpoint would have to hold, and any process can draw what belongs to any image.
"""

from __future__ import annotations

import numpy as np


def derive_seeds(*name: int, count: int = 1) -> list[int]:
    """`count` independent 64-bit seeds of the stream with this name (NumPy's SeedSequence).

    Args:
        name: non-negative integers, such as (seed, epoch, stage, step). Streams of one kind have names of one
            length: in names of fewer than five numbers a zero at the end makes no difference.
    """
    return np.random.SeedSequence(name).generate_state(count, np.uint64).tolist()
