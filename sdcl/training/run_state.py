"""A run's moving state, and how it goes to disk and comes back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from sdcl.analysis.label_churn import Churn
from sdcl.config.settings import Settings, flat
from sdcl.runtime import checkpoint, distributed
from sdcl.runtime.distributed import Processes
from sdcl.runtime.run_log import RunLog
from sdcl.runtime.trackers import Trackers
from sdcl.training.epoch_journal import Journal


@dataclass
class Run:
    """What is saved after each epoch, and within one when a signal ends it. `data` is the fingerprint of the training images.

    Random numbers need no state: each is a function of seed, epoch, stage and step.
    """

    settings: Settings
    processes: Processes
    model: nn.Module
    optimizer: torch.optim.Optimizer
    log: RunLog
    data: str
    trackers: Trackers | None = None
    churn: Churn = field(default_factory=Churn)

    def save(self, epoch: int, row: dict[str, Any]) -> None:
        """Save the state after an epoch, then tell of it."""
        rows, folder = self.log.rows, self.settings.run_dir
        if self.processes.main:
            if rows and rows[-1]["stage"] != row["stage"]:
                checkpoint.keep_as(folder, f"stage_{rows[-1]['stage']}.pt")
            checkpoint.save(folder, checkpoint.LAST, self._state(epoch, [*rows, row]))
            checkpoint.forget_unfinished(folder)
        self.log.epoch(row)
        if self.trackers:
            self.trackers.epoch(row)
        distributed.barrier()

    def save_unfinished(self, epoch: int, journal: Journal) -> None:
        """Save the state within an epoch."""
        if self.processes.main:
            state = self._state(epoch, self.log.rows) | {"journal": journal.state()}
            self.log.line(f"saved within epoch {epoch}: {checkpoint.save(self.settings.run_dir, checkpoint.UNFINISHED, state)}")
        distributed.barrier()

    def _state(self, epoch: int, rows: list[dict[str, Any]]) -> dict[str, Any]:
        state = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(), "epoch": epoch, "rows": rows}
        return state | {"settings": flat(self.settings), "data": self.data, "labels": self.churn.state()}


def resume(run: Run) -> tuple[int, Journal]:
    """Take over the run folder's state, if there is one. Returns the first epoch to train, and what of it was already done."""
    if not run.settings.run.resume:
        run.log.restore([])
        return 0, Journal()
    state, said = checkpoint.latest(run.settings.run_dir)
    first = 0 if state is None else state["epoch"] + 1
    unfinished, said_too = checkpoint.unfinished(run.settings.run_dir, first)
    for text in filter(None, (said, said_too)):
        run.log.line(f"note: {text}")
    state = unfinished or state
    if state is None:
        run.log.restore([])
        return 0, Journal()
    changed = checkpoint.refuse_differences(state, run.settings, run.data, run.settings.run.resume_anyway)
    if changed:
        run.log.line(f"note: continuing although these changed:\n{changed}")
    run.model.load_state_dict(state["model"])
    run.optimizer.load_state_dict(state["optimizer"])
    run.log.restore(state["rows"])
    if state["data"] == run.data:
        run.churn.load(state.get("labels", {}))  # checkpoints of earlier versions have none
    run.log.line(f"continuing {'within' if unfinished else 'after'} epoch {state['epoch']} of {run.settings.run_dir}")
    return first, Journal.of(unfinished["journal"], run.processes.device) if unfinished else Journal()
