"""What an unfinished epoch has computed, so that it can go on where a signal stopped it, bit for bit.

A method's `stages` is a generator. It is started again from its beginning, and gets every feature and label it asked for from here
instead of computing it anew from weights that have moved on meanwhile; stages that were trained are only given back their memories.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sdcl.clustering import PseudoLabels


@dataclass
class Progress:
    """How far a stage has come: steps done, those skipped, the names and values of the loss terms of each, and the state of its memories."""

    step: int = 0
    skipped: int = 0
    names: list[str] = field(default_factory=list)
    history: list[Tensor] = field(default_factory=list)
    memories: dict[str, Tensor] = field(default_factory=dict)


@dataclass
class Journal:
    """values: what `extract` and `once` gave, in the order of the calls. stages: how far each stage came, in their order."""

    values: list[Any] = field(default_factory=list)
    stages: list[Progress] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    _told: int = 0

    def recall(self, make: Callable[[], Any]) -> Any:
        """The next value: the one that was noted, or a new one, which is noted."""
        if self._told == len(self.values):
            self.values.append(make())
        self._told += 1
        return self.values[self._told - 1]

    def recalling(
        self, extract: Callable[..., Any], once: Callable[..., Any], look: Callable[[Any], None], check: Callable[[], None]
    ) -> tuple[Callable, Callable]:
        """The two functions that a method computes with, remembering.

        Args:
            look: sees what each extraction gives, remembered or new. check: is called after each new value.
        """

        def remembering(function: Callable[..., Any], look: Callable[[Any], None] = lambda value: None) -> Callable[..., Any]:
            def call(*arguments: Any) -> Any:
                known = self._told < len(self.values)
                value = self.recall(lambda: function(*arguments))
                look(value)
                if not known:
                    check()
                return value

            return call

        return remembering(extract, look), remembering(once)

    def progress(self, number: int) -> Progress:
        """How far stage `number` of the epoch has come."""
        if number == len(self.stages):
            self.stages.append(Progress())
        return self.stages[number]

    def state(self) -> dict[str, Any]:
        """Tensors and plain values only, for a checkpoint."""
        stages = [
            {"step": p.step, "skipped": p.skipped, "names": p.names, "history": p.history, "memories": p.memories} for p in self.stages
        ]
        return {"values": [_plain(v) for v in self.values], "stages": stages, "seconds": self.seconds}

    @staticmethod
    def of(state: dict[str, Any], device: torch.device) -> Journal:
        """The journal that `state` came from, its tensors on `device`."""
        stages = [
            Progress(s["step"], s["skipped"], s["names"], [t.to(device) for t in s["history"]], s["memories"]) for s in state["stages"]
        ]
        return Journal([_rich(v, device) for v in state["values"]], stages, state["seconds"])


def _plain(value: Any) -> Any:
    if isinstance(value, PseudoLabels):
        return {"labels": torch.from_numpy(value.ids), "clusters": value.num_clusters, "eps": value.eps}
    if isinstance(value, np.ndarray):
        return {"array": torch.from_numpy(value)}
    if isinstance(value, dict):
        return {"dict": {k: _plain(v) for k, v in value.items()}}
    return value


def _rich(value: Any, device: torch.device) -> Any:
    if isinstance(value, Tensor):
        return value.to(device)
    if not isinstance(value, dict):
        return value
    if "labels" in value:
        return PseudoLabels(value["labels"].numpy(), value["clusters"], value["eps"])
    if "array" in value:
        return value["array"].numpy()
    return {k: _rich(v, device) for k, v in value["dict"].items()}
