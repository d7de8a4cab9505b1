"""Journal of an unfinished epoch: its features, labels and memories, so that it continues bit for bit.

A method's `stages` is a generator, which cannot be saved. On resume it is run again from its start: `extract`
and `once` return the recorded values instead of computing them from weights that have changed since, and
stages that were trained get their memories back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sdcl.clustering import PseudoLabels
from sdcl.runtime.errors import CheckpointError

RECORDABLE = "None, numbers, strings, arrays, tensors, PseudoLabels, and dicts, lists and tuples of these"
PLAIN = (type(None), bool, int, float, str)  # exactly these types: a subclass would not come back as itself
KEYS = (int, str)  # types of a dict's keys, and of what a tuple as a key may hold


@dataclass
class StageProgress:
    """How far a stage has come.

    Args:
        step: optimiser steps taken. skipped: those left out because a gradient was not finite.
        names: of the loss terms. history: values of the terms of each step, (terms,) each.
        memories: state of the objectives of a stage that was interrupted, until `follow` gives it to them.
    """

    step: int = 0
    skipped: int = 0
    names: list[str] = field(default_factory=list)
    history: list[Tensor] = field(default_factory=list)
    memories: dict[str, Tensor] = field(default_factory=dict)
    _objectives: nn.ModuleDict | None = None

    def follow(self, objectives: Mapping[str, nn.Module]) -> None:
        """Record the memories of these objectives from here on.

        If the stage was interrupted, they get back what its steps made.

        Raises:
            CheckpointError: they are not the objectives of the interrupted run.
        """
        self._objectives = nn.ModuleDict(dict(objectives))
        if self.step:
            try:
                self._objectives.load_state_dict(_present_names(self.memories, self._objectives))
            except RuntimeError as error:
                raise CheckpointError(
                    "the interrupted epoch cannot go on: its stage had other objectives than the method has "
                    f"now ({error}). Remove unfinished.pt from the run folder, and the epoch is repeated"
                ) from error
        self.memories = {}

    def state(self) -> dict[str, Any]:
        """Tensors and plain values, for a checkpoint; the memories as they are now."""
        memories = self._objectives.state_dict() if self._objectives is not None else self.memories
        return {
            "step": self.step,
            "skipped": self.skipped,
            "names": self.names,
            "history": self.history,
            "memories": memories,
        }


def _present_names(memories: dict[str, Tensor], objectives: nn.ModuleDict) -> dict[str, Tensor]:
    """Rename the memories of version 0.1, whose stages had one objective without a name."""
    names = objectives.state_dict().keys()
    longer = {
        old: [name for name in names if name.endswith(f".{old}")] for old in memories if old not in names
    }
    return {(longer[old][0] if longer.get(old) else old): value for old, value in memories.items()}


@dataclass
class EpochJournal:
    """Values and stages of one epoch.

    Args:
        values: results of `extract` and `once`, in the order of the calls. stages: their progress, in their
            order.
        seconds: phase -> seconds that the epoch had taken when a signal interrupted it; empty for a new
            epoch.
    """

    values: list[Any] = field(default_factory=list)
    stages: list[StageProgress] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    _replayed: int = 0  # values that this run of the generator has asked for

    @property
    def replaying(self) -> bool:
        """Whether the next value is recorded already."""
        return self._replayed < len(self.values)

    def recall(self, compute: Callable[[], Any]) -> Any:
        """The next value: the recorded one, or a new one, which is recorded.

        It must not be changed in place.
        """
        if not self.replaying:
            self.values.append(compute())
        self._replayed += 1
        return self.values[self._replayed - 1]

    def stage(self, number: int) -> StageProgress:
        """Progress of stage `number` of the epoch; a new one starts at 0."""
        if number == len(self.stages):
            self.stages.append(StageProgress())
        return self.stages[number]

    @property
    def skipped(self) -> int:
        """Optimiser steps of all stages that were left out because a gradient was not finite."""
        return sum(progress.skipped for progress in self.stages)

    def state(self, seconds: dict[str, float]) -> dict[str, Any]:
        """Tensors and plain values only, for a checkpoint.

        Args:
            seconds: phase -> seconds that the epoch has taken so far.
        """
        return {
            "values": [encode(value) for value in self.values],
            "stages": [progress.state() for progress in self.stages],
            "seconds": dict(seconds),
        }

    @classmethod
    def from_state(cls, state: dict[str, Any], device: torch.device) -> EpochJournal:
        """The journal that `state` was taken from, its tensors on `device`."""
        stages = [
            StageProgress(**s | {"history": [t.to(device) for t in s["history"]]}) for s in state["stages"]
        ]
        return cls([decode(value, device) for value in state["values"]], stages, state["seconds"])


def require_recordable(value: Any) -> Any:
    """Return the value, if a journal can hold it.

    Raises:
        TypeError: it is, or contains, a value of another type; the message names type and position.
    """
    encode(value)
    return value


def encode(value: Any, position: str = "") -> Any:
    """A value of the types `RECORDABLE` as tensors and plain values, from which `decode` restores it.

    Args:
        position: of the value within the one that was returned, such as "['visible'][0]".

    Raises:
        TypeError: another type.
    """
    kind = type(value)
    if kind in PLAIN or isinstance(value, Tensor):
        return value
    if kind is PseudoLabels:
        return {"labels": _as_tensor(value.ids), "clusters": value.num_clusters, "eps": value.eps}
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "biuf" and value.dtype.isnative:
        name = "array" if kind is np.ndarray else "scalar"
        return {name: _as_tensor(value)}
    if kind is dict:
        for key in value:
            if not all(type(part) in KEYS for part in (key if type(key) is tuple else (key,))):
                raise _unrecordable(f"a dict with the key {key!r} of type {type(key).__name__}", position)
        return {"dict": {key: encode(item, f"{position}[{key!r}]") for key, item in value.items()}}
    if kind in (list, tuple):
        return {kind.__name__: [encode(item, f"{position}[{n}]") for n, item in enumerate(value)]}
    name = f"{kind.__name__} of {value.dtype}" if isinstance(value, np.ndarray) else kind.__name__
    raise _unrecordable(f"a value of type {name}", position)


def _as_tensor(value: np.ndarray | np.generic) -> Tensor:
    # a copy: torch takes neither reversed nor read-only arrays
    return torch.from_numpy(np.array(value, order="C"))


def _unrecordable(what: str, position: str) -> TypeError:
    where = f" at {position}" if position else ""
    return TypeError(
        f"`once` was given a function that returns {what}{where}; it may return {RECORDABLE}, which can be "
        "saved when a signal interrupts the epoch"
    )


def decode(value: Any, device: torch.device) -> Any:
    """The value that `encode` was given. Tensors go to `device`, arrays and labels stay on the CPU."""
    if isinstance(value, Tensor):
        return value.to(device)
    if not isinstance(value, dict):
        return value
    if "labels" in value:
        return PseudoLabels(value["labels"].numpy(), value["clusters"], value["eps"])
    ((kind, content),) = value.items()
    if kind == "array":
        return content.numpy()
    if kind == "scalar":
        return content.numpy()[()]
    if kind == "dict":
        return {key: decode(item, device) for key, item in content.items()}
    items = [decode(item, device) for item in content]
    return tuple(items) if kind == "tuple" else items
