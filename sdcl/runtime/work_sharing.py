"""Heavy work that can be split: done here alone, or with the help of processes that wait for its result.

in_parts(function, rows, ...)      # the neighbour search knows how to split itself
with helped_by(spread): ...        # runtime/distributed.py knows who is there; neither knows the other
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from torch import Tensor

Part = tuple[Tensor, ...]
Work = Callable[..., Part]
Spread = Callable[..., list[Part]]  # (work, rows, *arguments) -> what each process gave


def in_parts(work: Work, rows: Tensor, *arguments: Any) -> list[Part]:
    """What work(rows, *arguments, part, parts) gives for part 0, 1, ..., parts - 1; alone there is one part.

    Args:
        work: a function of a module, so that others can be told its name. Its tensors have the same shapes in every part.
        rows: given to all who help.

    Raises:
        RuntimeError: a process failed at its part; its error is named.
    """
    return _spread.get()(work, rows, *arguments)


@contextmanager
def helped_by(spread: Spread) -> Iterator[None]:
    """Within the block `in_parts` leaves it to `spread` who does which part."""
    before = _spread.set(spread)
    try:
        yield
    finally:
        _spread.reset(before)


def _alone(work: Work, rows: Tensor, *arguments: Any) -> list[Part]:
    return [work(rows, *arguments, 0, 1)]


_spread: ContextVar[Spread] = ContextVar("spread", default=_alone)
