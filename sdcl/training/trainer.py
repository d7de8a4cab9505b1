"""Optimiser steps of a stage: batch -> images -> features -> (loss terms of the method) -> gradient step.

    trainer = StageTrainer(stage, ...)
    for batch in trainer.batches():
        features, gathered = trainer.embed(batch)
        trainer.update([objective(features, gathered, batch) for objective in stage.objectives.values()])
    trainer.mean_losses()

Here are also the model's data parallelism, the optimiser and the learning rate that all stages share. B
images in a batch, D dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from tqdm import tqdm

from sdcl.config import Settings
from sdcl.data.normalization import Normalization
from sdcl.datasets.sample import MODALITIES
from sdcl.methods.interface import Batch, Features, Stage
from sdcl.models.replicas import Replicas
from sdcl.models.sync_batch_norm import synchronise_batch_norm
from sdcl.runtime import distributed
from sdcl.runtime.distributed import Processes
from sdcl.runtime.errors import SettingError, TrainingError
from sdcl.runtime.profiler import StepProfiler
from sdcl.runtime.seeds import derive_seeds
from sdcl.training.batches import draw_batches, load_views, make_batch, training_views
from sdcl.training.contract import loss_terms
from sdcl.training.epoch_journal import StageProgress
from sdcl.training.images import TrainingImages

DEPTH = 99  # last number in the name of the stream of stochastic depth; modalities are 0 and 1


class StageTrainer:
    """The steps of a stage that `progress` does not hold yet.

    Args:
        stage: with objectives. seed: (seed, epoch, number of the stage in it), from which all its random
            numbers follow.
        progress: is moved on by every step.
        model: with BatchNorm slices and data parallelism around it. images: of the training set.
        before_restart: see `training_views`.
        normalization: of the model.
        profiler: None on all processes but the main one.
    """

    def __init__(
        self,
        stage: Stage,
        seed: tuple[int, ...],
        progress: StageProgress,
        *,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        images: TrainingImages,
        normalization: Normalization,
        settings: Settings,
        processes: Processes,
        before_restart: bool = True,
        profiler: StepProfiler | None = None,
    ):
        self.stage, self.seed, self.progress = stage, seed, progress
        self.model, self.optimizer, self.images = model, optimizer, images
        self.normalization = normalization
        self.settings, self.processes, self.profiler = settings, processes, profiler
        self.bf16 = processes.bf16(settings.run.precision)
        self.title = f"epoch {seed[1]}, stage {stage.name}"
        self.views = training_views(settings, before_restart=before_restart)
        self.drawn = draw_batches(stage, images.cameras, settings, seed)
        self.scaler = skipping_scaler(processes.device)
        self.bar: tqdm | None = None
        progress.follow(stage.objectives)

    def batches(self) -> Iterator[Batch]:
        """The global batch of each step, with a progress bar."""
        self.model.train()
        steps = range(self.progress.step, self.stage.iterations)
        silent = None if self.processes.main else True
        self.bar = tqdm(steps, self.title, unit="step", disable=silent, leave=False)
        for step in self.bar:
            yield make_batch(
                self.stage, {m: drawn[step] for m, drawn in self.drawn.items()}, self.views, self.processes
            )

    def embed(self, batch: Batch) -> tuple[Features, Features]:
        """Features of the step's batch.

        Returns:
            modality -> branch -> float32 (B / processes, D) of this process's shard, with gradient; and the
            same of the whole batch, (B, D), without.
        """
        step = (*self.seed, self.progress.step)
        images = {
            m: load_views(
                self.images.train[m],
                self.drawn[m][self.progress.step],
                self.views[m],
                (*step, i),
                batch.local[m],
                self.normalization,
                self.images.translation if m == "visible" else None,
            )
            for i, m in enumerate(MODALITIES)
        }
        with torch.autocast(self.processes.device.type, torch.bfloat16, enabled=self.bf16):
            outputs = self.model(images, seed=derive_seeds(*step, DEPTH)[0] >> 33)
        features = {m: {b: f.float() for b, f in branches.items()} for m, branches in outputs.items()}
        gathered = {
            m: {b: distributed.gather_rows(f.detach()) for b, f in branches.items()}
            for m, branches in features.items()
        }
        return features, gathered

    def update(self, outputs: Sequence[object]) -> None:
        """Take the optimiser step of the sum of all loss terms; it is left out if a gradient is not finite.

        Args:
            outputs: what each objective returned, name -> loss term.

        Raises:
            ValueError: no loss terms; see `loss_terms`.
            TrainingError: see `mean_losses`, to which every --print-freq steps lead.
            RuntimeError: with --check-ranks, the processes differ.
        """
        terms = loss_terms(list(self.stage.objectives), outputs, self.title)
        progress = self.progress
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(cast(Tensor, sum(terms.values()))).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        progress.history.append(torch.stack([term.detach() for term in terms.values()]))
        progress.names, progress.step = list(terms), progress.step + 1
        if self.settings.health.check_ranks:
            memories = [buffer for o in self.stage.objectives.values() for buffer in o.buffers()]
            tensors = [*self.model.parameters(), *memories]
            distributed.assert_equal(tensors, f"{self.title}, step {progress.step - 1}")
        if self.reporting:
            loss = sum(self.mean_losses().values())
            if self.bar is not None:
                self.bar.set_postfix({"loss": f"{loss:.3f}"})
        if self.profiler is not None:
            self.profiler.step()

    @property
    def reporting(self) -> bool:
        """Whether all processes meet after this step and the losses are read: every --print-freq steps."""
        step = self.progress.step
        return step % self.settings.run.print_freq == 0 or step == self.stage.iterations

    def count_skipped(self) -> None:
        """Add the steps that were left out since the last call to the progress. Waits for the GPU."""
        scale = self.scaler.get_scale()
        skipped = round(-math.log2(scale)) if scale else max(150, self.settings.health.max_skipped + 1)
        if skipped:  # of a scale of 0 more steps than halvings that a float32 has
            self.progress.skipped += skipped
            self.scaler.update(1.0)

    def share_history(self) -> None:
        """Replace the losses of the steps so far by their means over the processes, so that a run that
        continues from what the main one saves has the same log.
        """
        history = self.progress.history
        if history and not distributed.single_process():
            self.progress.history = list(self._shared(history))

    @staticmethod
    def _shared(history: list[Tensor]) -> Tensor:
        """Losses (steps, terms), the mean over the processes."""
        return distributed.gather_rows(torch.stack(history)[None]).mean(0)

    def mean_losses(self) -> dict[str, float]:
        """Mean of each loss term over steps and processes; the one place where training waits for the GPU.

        Raises:
            TrainingError: a term was NaN or infinite, or more than --max-skipped steps were left out.
        """
        self.count_skipped()
        progress, run_dir = self.progress, self.settings.run_dir
        terms = self._shared(progress.history).cpu()
        bad = (~torch.isfinite(terms)).nonzero()
        if len(bad):
            step, term = bad[0].tolist()
            raise TrainingError(
                f"{self.title}, step {step}: the loss term {progress.names[term]} became "
                f"{terms[step, term].item()}. Nothing of this epoch was saved; {run_dir} holds the epochs "
                "before. Try a lower --lr, --precision fp32 or a larger --temp"
            )
        if progress.skipped > self.settings.health.max_skipped:
            raise TrainingError(
                f"{self.title}: {progress.skipped} steps were left out because a gradient was infinite or "
                f"NaN, more than --max-skipped {self.settings.health.max_skipped}. Nothing of this epoch was "
                "saved; try a lower --lr, --precision fp32 or a larger --temp"
            )
        return dict(zip(progress.names, terms.mean(0).tolist()))


def skipping_scaler(device: torch.device) -> torch.amp.GradScaler:
    """A gradient scaler of scale 1 that leaves out steps with a gradient that is not finite.

    Unlike a check of the gradients it does not wait for the GPU. Each step that it leaves out halves its
    scale, by which `StageTrainer.count_skipped` counts them.
    """
    return torch.amp.GradScaler(device.type, init_scale=1.0, growth_interval=2**30)


def make_optimizer(model: nn.Module, settings: Settings) -> torch.optim.Optimizer:
    """The optimiser of --optimizer, with an empty state."""
    trained, options = [p for p in model.parameters() if p.requires_grad], settings.optim
    fused = trained[0].is_cuda or None  # one kernel for all parameters; on a CPU torch chooses
    if options.optimizer == "adam":
        return torch.optim.Adam(trained, lr=options.lr, weight_decay=options.weight_decay, fused=fused)
    sgd = torch.optim.SGD(
        trained,
        lr=options.lr,
        momentum=options.optimizer_momentum,
        weight_decay=options.weight_decay,
        fused=fused,
    )
    complete_momentum(sgd)
    return sgd


def complete_momentum(optimizer: torch.optim.Optimizer) -> None:
    """Give fused SGD a momentum of 0 where it has none, which is what its first step makes of none.

    If that step is left out, torch's kernel takes uninitialised memory for it.
    """
    for group in optimizer.param_groups:
        if group.get("fused") and group.get("momentum"):
            for parameter in group["params"]:
                if optimizer.state[parameter].get("momentum_buffer") is None:
                    optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)


def learning_rate(settings: Settings, epochs: int) -> float:
    """StepLR: the learning rate `epochs` after the schedule's start."""
    return settings.optim.lr * settings.optim.gamma ** (epochs // settings.optim.step_size)


def parallel_model(model: nn.Module, settings: Settings, processes: Processes) -> nn.Module:
    """The model as training calls it: with BatchNorm slices (--bn-replicas) and data parallelism.

    Raises:
        SettingError: the global batch cannot be split evenly.
    """
    replicas, count, batch = settings.model.bn_replicas, processes.count, settings.batch
    slices = max(replicas, count)
    visible = (batch.batch_size_visible or batch.batch_size) * (2 if settings.augment.second_view else 1)
    if visible % slices or batch.batch_size % slices or (replicas % count and count % replicas):
        raise SettingError(
            f"{count} processes and --bn-replicas {replicas} cannot share {visible} visible and "
            f"{batch.batch_size} infrared images of a step evenly; change --batch-size, "
            "--bn-replicas or the number of processes"
        )
    if count > replicas:
        synchronise_batch_norm(model, replicas)
    local = max(replicas // count, 1)  # slices on this process
    return distributed.data_parallel(Replicas(model, local, processes.rank * local), processes)
