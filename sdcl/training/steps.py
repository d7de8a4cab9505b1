"""The optimiser steps of a stage: batch -> images -> features -> loss terms -> gradient."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from sdcl.config.settings import Settings
from sdcl.data.image_cache import ImageStore
from sdcl.datasets.sample import MODALITIES
from sdcl.methods import Stage
from sdcl.runtime import distributed
from sdcl.runtime.errors import TrainingError
from sdcl.runtime.profiler import StepTrace
from sdcl.training.batches import draw_batches, load_views, make_batch, training_views, words
from sdcl.training.epoch_journal import Progress


@dataclass
class Trainer:
    """What every step needs.

    Args:
        model: with BatchNorm slices and data parallelism around it. stores: modality -> training images. cameras: modality -> int (N,).
        check: raises where a signal asked the run to end; told whether all processes are at the same point.
        trace: what --profile asks for, on one process.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    stores: dict[str, ImageStore]
    cameras: dict[str, np.ndarray]
    settings: Settings
    processes: distributed.Processes
    bf16: bool
    check: Callable[..., None]
    trace: StepTrace | None = None

    def train(self, stage: Stage, seed: tuple[int, ...], progress: Progress) -> dict[str, float]:
        """All steps of a stage that `progress` does not hold yet. Returns the mean of every loss term; nothing without steps.

        Args:
            seed: (seed, epoch, number of the stage in it), from which every random number of the stage follows.

        Raises:
            ValueError: a loss became NaN or infinite; the last checkpoint on disk is from before.
        """
        if not stage.objectives:
            return {}
        objectives = nn.ModuleDict(dict(stage.objectives))
        if progress.step:
            objectives.load_state_dict(progress.memories)
        progress.memories = objectives.state_dict()  # the tensors themselves, which the steps move on
        self.model.train()
        title = f"epoch {seed[1]}, stage {stage.name}"
        views, batches = training_views(self.settings), draw_batches(stage, self.cameras, self.settings, seed)
        every = self.settings.run.print_freq
        silent = None if self.processes.main else True
        scaler = skipping_scaler(self.processes.device)
        for step in (bar := tqdm(range(progress.step, stage.iterations), title, unit="step", disable=silent, leave=False)):
            batch = make_batch(stage, {m: b[step] for m, b in batches.items()}, views, self.processes)
            here = (*seed, step)
            images = {
                m: load_views(self.stores[m], batches[m][step], views[m], (*here, i), batch.local[m]) for i, m in enumerate(MODALITIES)
            }
            with torch.autocast(self.processes.device.type, torch.bfloat16, enabled=self.bf16):
                features = self.model(images, seed=words(*here, 99)[0] >> 33)
            features = {m: {b: f.float() for b, f in branches.items()} for m, branches in features.items()}
            everyone = {m: {b: distributed.gather_rows(f.detach()) for b, f in branches.items()} for m, branches in features.items()}
            terms = {}
            for objective in objectives.values():
                terms |= objective(features, everyone, batch)
            self.optimizer.zero_grad(set_to_none=True)
            scaler.scale(sum(terms.values())).backward()
            scaler.step(self.optimizer)  # not when a gradient is infinite or NaN
            scaler.update()
            progress.history.append(torch.stack([t.detach() for t in terms.values()]))
            progress.names, progress.step = list(terms), step + 1
            told = (step + 1) % every == 0 or step + 1 == stage.iterations
            if self.settings.health.check_ranks:
                distributed.assert_equal([*self.model.parameters(), *objectives.buffers()], f"{title}, step {step}")
            if told:
                progress.skipped += count_skipped(scaler)
                bar.set_postfix({"loss": f"{sum(read_losses(progress, title, self.settings).values()):.3f}"})
            if self.trace:
                self.trace.step()
            self.check(together=told)
        return read_losses(progress, title, self.settings)


def skipping_scaler(device: torch.device) -> torch.amp.GradScaler:
    """Scales by 1, but leaves out a step whose gradients are not finite, and halves its scale then: by which they are counted."""
    return torch.amp.GradScaler(device.type, init_scale=1.0, growth_interval=2**30)


def count_skipped(scaler: torch.amp.GradScaler) -> int:
    """Steps left out so far; the count begins anew."""
    skipped = round(-math.log2(scaler.get_scale()))
    if skipped:
        scaler.update(1.0)
    return skipped


def read_losses(progress: Progress, title: str, settings: Settings) -> dict[str, float]:
    """Mean of each term over the steps so far and over the processes: the one place where the device is waited for."""
    terms = distributed.gather_rows(torch.stack(progress.history)[None]).mean(0).cpu()  # (steps, terms)
    bad = (~torch.isfinite(terms)).nonzero()
    if len(bad):
        step, term = bad[0].tolist()
        raise TrainingError(
            f"{title}, step {step}: the loss term {progress.names[term]} became {terms[step, term].item()}. Nothing of "
            f"this epoch was saved; {settings.run_dir} holds the epochs before. Try a lower --lr, --precision fp32 or a larger --temp"
        )
    if progress.skipped > settings.health.max_skipped:
        raise TrainingError(
            f"{title}: {progress.skipped} steps were left out because a gradient was infinite or NaN, more than --max-skipped "
            f"{settings.health.max_skipped}. Nothing of this epoch was saved; try a lower --lr, --precision fp32 or a larger --temp"
        )
    return dict(zip(progress.names, terms.mean(0).tolist()))
