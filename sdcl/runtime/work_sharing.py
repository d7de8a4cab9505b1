"""Work sharing: idle ranks compute shards of rank 0's job.

While rank 0 makes a value in `once` (runtime/distributed.py), the other ranks wait for it. Heavy functions
whose rows are independent take a parameter `share`, which decides who computes the shards of them:

    with_idle_ranks    all ranks within `once`, this rank alone otherwise (the default)
    alone              this rank

so that neither the function nor the process group needs to know the other. Within `once` a call that shares
is a collective operation: every rank takes part, and the error of any rank is raised on rank 0.

Worth sharing is what grows with N^2: the neighbour search (clustering/), rank lists and affinities
between the modalities (association/). The rest is a few percent of the time, much of which sending would
cost; see docs/performance.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from torch import Tensor

Shard = tuple[Tensor, ...]
Work = Callable[..., Shard]  # (*arguments, shard=, shards=) -> that shard's tensors
Share = Callable[..., list[Shard]]  # (work, *arguments) -> the results of all shards


def alone(work: Work, *arguments: Any) -> list[Shard]:
    """Compute the whole job here, as one shard."""
    return [work(*arguments, shard=0, shards=1)]


def with_idle_ranks(work: Work, *arguments: Any) -> list[Shard]:
    """Compute the shards of a job on all ranks within `once`, and as one shard here otherwise.

    Args:
        work: called as work(*arguments, shard=, shards=). A module-level function, since other ranks receive
            it by name. Its tensors, as many from every shard, may differ in length; they lie on the device of
            the arguments.
        arguments: tensors, and picklable values without tensors in them; sent to all ranks.

    Raises:
        RuntimeError: a rank failed at its shard; the message names its error.
    """
    return _current.get()(work, *arguments)


def chunks_of_shard(count: int, size: int, shard: int, shards: int) -> list[slice]:
    """A shard's chunks of `size` rows among `count`, consecutive, so that
    results joined by shard are in order.

    Chunks stay whole: a product of matrices has the same shape, and the same bits, for any number of shards.
    A shard without rows has one empty chunk, so that its result has a shape as well.
    """
    chunks = [slice(first, min(first + size, count)) for first in range(0, count, size)]
    return chunks[len(chunks) * shard // shards : len(chunks) * (shard + 1) // shards] or [slice(0, 0)]


@contextmanager
def sharing_through(share: Share) -> Iterator[None]:
    """Within the block, `with_idle_ranks` hands its jobs to `share`."""
    token = _current.set(share)
    try:
        yield
    finally:
        _current.reset(token)


_current: ContextVar[Share] = ContextVar("share", default=alone)
