"""Seeds of random streams, derived from the numbers that name a stream.

Every random number of a run is a function of such a name (seed, epoch, stage, step, ...), so no generator has a state that a checkpoint
would have to hold, and any process can draw what belongs to any image.
"""

from __future__ import annotations

import numpy as np


def derive_seeds(*name: int, count: int = 1) -> list[int]:
    """`count` independent 64-bit seeds that depend on every number of the name (NumPy's SeedSequence).

    Args:
        name: non-negative integers, such as (seed, epoch, stage, step).
    """
    return np.random.SeedSequence(name).generate_state(count, np.uint64).tolist()
