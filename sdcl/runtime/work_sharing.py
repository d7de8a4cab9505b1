"""Work sharing: idle ranks compute shards of rank 0's job.

While rank 0 makes a value in `once` (runtime/distributed.py), the other ranks wait for it. Heavy functions
that can be split take a parameter `share`, which decides who computes the shards:

    with_idle_ranks    all ranks within `once`, this rank alone otherwise (the default)
    alone              this rank

so that neither the function nor the process group needs to know the other. Within `once` a call that shares
is a collective operation: every rank takes part, and the error of any rank is raised on rank 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from torch import Tensor

Shard = tuple[Tensor, ...]
Work = Callable[..., Shard]  # (rows, *arguments, shard, shards) -> that shard's tensors
Share = Callable[..., list[Shard]]  # (work, rows, *arguments) -> the results of all shards


def alone(work: Work, rows: Tensor, *arguments: Any) -> list[Shard]:
    """Compute the whole job here, as one shard."""
    return [work(rows, *arguments, 0, 1)]


def with_idle_ranks(work: Work, rows: Tensor, *arguments: Any) -> list[Shard]:
    """Compute the shards of a job on all ranks within `once`, and as one shard here otherwise.

    Args:
        work: called as work(rows, *arguments, shard, shards). A module-level function, since other ranks
            receive it by name. Its tensors have the same shapes in every shard.
        rows: tensor sent to all ranks; arguments: picklable values.

    Raises:
        RuntimeError: a rank failed at its shard; the message names its error.
    """
    return _current.get()(work, rows, *arguments)


@contextmanager
def sharing_through(share: Share) -> Iterator[None]:
    """Within the block, `with_idle_ranks` hands its jobs to `share`."""
    token = _current.set(share)
    try:
        yield
    finally:
        _current.reset(token)


_current: ContextVar[Share] = ContextVar("share", default=alone)
