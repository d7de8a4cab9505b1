"""Train: where we run, images, model, method, optimiser, epochs. `python -m sdcl.train --help`.

Identities are dropped from the training list before a method sees it; they reach `Truth` alone, which only writes to the log.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from sdcl.analysis.label_quality import Truth
from sdcl.cli.report import say_report
from sdcl.config.settings import Settings, describe, flat, parse
from sdcl.data.image_cache import ImageStore, build_cache, content_fingerprint, open_store
from sdcl.datasets import open_dataset
from sdcl.datasets.sample import MODALITIES
from sdcl.evaluation.tables import to_rows
from sdcl.inference.extract import calibrate_necks, embed
from sdcl.inference.test_set import TestSet
from sdcl.methods import METHODS, Stage
from sdcl.methods.interface import Features, Indexes
from sdcl.models.pretrained import starting_model
from sdcl.models.replicas import Replicas
from sdcl.runtime import distributed
from sdcl.runtime.errors import SettingError
from sdcl.runtime.interruption import Interruption
from sdcl.runtime.profiler import StepTrace
from sdcl.runtime.program import Interrupted, program
from sdcl.runtime.run_log import RunLog, environment
from sdcl.runtime.trackers import Trackers
from sdcl.training.epoch_journal import Journal
from sdcl.training.monitor import Health
from sdcl.training.run_state import Run, resume
from sdcl.training.steps import Trainer


@program
def main(argv: list[str] | None = None) -> int:
    """Command line entry.

    Exit codes: 0 finished; 2 bad input or a run that cannot go on (the message says why); 75 a signal ended it, the same command continues.
    """
    settings, origin, _ = parse(argv, "python -m sdcl.train", "Train one method on one data set.")
    with Interruption() as interruption:
        train(settings, describe(settings, origin), interruption)
    distributed.stop()
    say_report(settings.run_dir, settings.run.report)
    return 0


def train(settings: Settings, said: str = "", interruption: Interruption | None = None) -> dict[str, Any]:
    """The whole run. Returns the last epoch's row of metrics.jsonl.

    Args:
        interruption: entered, if signals shall end the run with its state saved.
    """
    interruption = interruption or Interruption()
    processes = distributed.start(settings.run.device)
    log = RunLog(settings.run_dir, processes.main)
    log.line(said)
    d = settings.data

    # images: from here on a training image is a path and a camera
    dataset = open_dataset(d.dataset, settings.data_dir, trial=d.trial, allow_incomplete=d.allow_incomplete)
    dataset.require_train()
    samples = dataset.train
    for notice in dataset.notices:
        log.line(f"note: {notice}")
    paths = {m: [s.path for s in samples[m]] for m in MODALITIES}
    cameras = {m: np.array([s.camera for s in samples[m]]) for m in MODALITIES}
    truth = Truth(samples)
    data = fingerprint_of(paths)
    train_stores = open_stores(paths, settings, settings.data.resize_train, processes, "training")
    extract_stores = open_stores(paths, settings, settings.data.resize_extract, processes, "clustering")
    test_set = TestSet(dataset, settings, processes) if settings.run.eval_step and dataset.test else None

    # model, method, optimiser
    torch.manual_seed(settings.run.seed)
    model, loaded = starting_model(settings)
    log.line(loaded)
    model.to(processes.device)
    bf16 = processes.bf16(settings.run.precision)
    method = METHODS[settings.run.method](settings, cameras)
    run = Run(settings, processes, model, make_optimizer(model, settings), log, data)
    first, journal = resume(run)
    if first == 0 and not journal.values and settings.model.calibrate_necks:
        calibrate_necks(model, extract_stores, batch_size=settings.model.embed_batch_size, bf16=bf16, seed=settings.run.seed)
    log.write_json("config.json", flat(settings))
    log.write_json("environment.json", environment(processes.device, processes.count, data))
    run.trackers = Trackers(settings.run_dir, flat(settings), first, settings.run.wandb) if processes.main else None
    if first >= settings.optim.epochs:
        log.line(f"nothing to do: {settings.run_dir} holds all {settings.optim.epochs} epochs")

    clock, health = (
        Stopwatch(processes.device),
        Health(settings, cameras, log, synthetic=dataset.synthetic),
    )

    def extract(rows: Indexes | None = None) -> Features:
        how = {"batch_size": settings.model.embed_batch_size, "bf16": bf16, "unit_views": method.unit_views, "title": "training"}
        with clock("embed"):
            return {m: embed(model, extract_stores[m], m, rows=r, **how) for m, r in (rows or dict.fromkeys(MODALITIES)).items()}

    def once(make: Callable[[], Any]) -> Any:
        with clock("cluster"):
            return distributed.once(make)

    trainer = Trainer(wrap(model, settings, processes), run.optimizer, train_stores, cameras, settings, processes, bf16, interruption.check)
    trainer.trace = StepTrace(settings.run_dir, settings.run.profile) if processes.main else None
    for epoch in range(first, settings.optim.epochs):
        restarts = [0, *(r for r in method.restarts if r <= epoch)]
        if epoch in method.restarts and not journal.stages:
            run.optimizer = trainer.optimizer = make_optimizer(model, settings)
        lr = learning_rate(settings, epoch - max(restarts))
        for group in run.optimizer.param_groups:
            group["lr"] = lr
        health.begin(epoch)
        clock.seconds = journal.seconds = journal.seconds or dict.fromkeys(clock.seconds, 0.0)
        done: list[tuple[Stage, dict[str, float]]] = []
        try:
            for stage in method.stages(epoch, *journal.recalling(extract, once, health.features, interruption.check)):
                health.labels(stage)
                with clock("train"):
                    seed = (settings.run.seed, epoch, len(done))
                    done.append((stage, trainer.train(stage, seed, journal.progress(len(done)))))
                distributed.broadcast_buffers(model)
        except Interrupted:
            run.save_unfinished(epoch, journal)
            raise
        skipped = sum(progress.skipped for progress in journal.stages)
        row = {"epoch": epoch, "lr": lr, **summarize(done, truth), "skipped_steps": skipped, "features": health.seen}
        if test_set and (epoch % settings.run.eval_step == settings.run.eval_step - 1 or epoch == settings.optim.epochs - 1):
            with clock("test"):
                row["test"] = to_rows(test_set.evaluate(model, bf16))
        health.compare(row)
        if processes.main:
            run.churn.follow([s for stage, _ in done for s in stage.label_sets], row["labels"])
        run.save(epoch, {**row, "seconds": clock.seconds})
        journal = Journal()
        interruption.check()
    if trainer.trace:
        trainer.trace.close()
    if run.trackers:
        run.trackers.close()
    return log.rows[-1]


def summarize(done: list[tuple[Stage, dict[str, float]]], truth: Truth) -> dict[str, Any]:
    """What an epoch's stages did, for its row of metrics.jsonl.

    "loss" is the mean over all steps; terms carry their stage's name where there are several. Of labels with the same name the last count.
    """
    trained = [(stage, losses) for stage, losses in done if losses]
    prefix = "{}/" if len(trained) > 1 else ""
    steps = sum(stage.iterations for stage, _ in trained)
    return {
        "stage": done[-1][0].name,
        "iterations": {stage.name: stage.iterations for stage, _ in done},
        "loss": sum(stage.iterations * sum(losses.values()) for stage, losses in trained) / max(steps, 1),
        "losses": {prefix.format(stage.name) + term: value for stage, losses in trained for term, value in losses.items()},
        "labels": {s.name: truth.describe(s) for stage, _ in done for s in stage.label_sets},
    }


def learning_rate(settings: Settings, epochs: int) -> float:
    """StepLR, `epochs` after its start."""
    return settings.optim.lr * settings.optim.gamma ** (epochs // settings.optim.step_size)


def open_stores(
    paths: dict[str, list[str]], settings: Settings, resize: str, processes: distributed.Processes, title: str
) -> dict[str, ImageStore]:
    """modality -> decoded images; one process of each machine decodes while the others wait."""
    d = settings.data
    if processes.local_rank == 0:
        for m in paths:
            build_cache(paths[m], d.height, d.width, resize, Path(d.cache_dir), d.workers, f"{title} {m}")
    distributed.barrier()
    return {
        m: open_store(p, d.height, d.width, resize, Path(d.cache_dir), processes.device, workers=d.workers, title=f"{title} {m}")
        for m, p in paths.items()
    }


def fingerprint_of(paths: dict[str, list[str]]) -> str:
    return content_fingerprint([p for m in MODALITIES for p in paths[m]])


def wrap(model: nn.Module, settings: Settings, processes: distributed.Processes) -> nn.Module:
    """BatchNorm slices and data parallelism around the model.

    Raises:
        ValueError: the global batch cannot be split evenly.
    """
    replicas, count = settings.model.bn_replicas, processes.count
    slices = max(replicas, count)
    visible = (settings.batch.batch_size_visible or settings.batch.batch_size) * (2 if settings.augment.second_view else 1)
    if visible % slices or settings.batch.batch_size % slices or (replicas % count and count % replicas):
        raise SettingError(
            f"{count} processes and --bn-replicas {replicas} cannot share {visible} visible and {settings.batch.batch_size} infrared "
            "rows evenly; change --batch-size, --bn-replicas or the number of processes"
        )
    if count > replicas:
        distributed.synchronise_batch_norm(model, replicas)
    here = max(replicas // count, 1)
    return distributed.data_parallel(Replicas(model, here, processes.rank * here), processes)


def make_optimizer(model: nn.Module, settings: Settings) -> torch.optim.Optimizer:
    trained, own = [p for p in model.parameters() if p.requires_grad], settings.optim
    fused = trained[0].is_cuda or None  # one kernel for all parameters; on a host torch chooses
    if own.optimizer == "adam":
        return torch.optim.Adam(trained, lr=own.lr, weight_decay=own.weight_decay, fused=fused)
    return torch.optim.SGD(trained, lr=own.lr, momentum=own.optimizer_momentum, weight_decay=own.weight_decay, fused=fused)


class Stopwatch:
    """clock("train") adds the seconds of a with-block to its phase; the GPU is waited for, once per phase."""

    def __init__(self, device: torch.device):
        self.device, self.seconds = device, dict.fromkeys(("embed", "cluster", "train", "test"), 0.0)

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.seconds[phase] += time.perf_counter() - began


if __name__ == "__main__":
    sys.exit(main())
