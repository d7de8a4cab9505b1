"""Train: where we run, images, model, method, optimiser, epochs. `python -m sdcl.train --help`.

Identities are dropped from the training list before a method sees it; they reach `Truth` alone, which only writes to the log.
"""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from sdcl.batches import draw_batches, load_views, make_batch, training_views, words
from sdcl.config import Settings, describe, flat, parse
from sdcl.data import notices, training_samples
from sdcl.data.samples import MODALITIES
from sdcl.data.store import ImageStore, build_cache, content_fingerprint, open_store
from sdcl.evaluation.tables import to_rows
from sdcl.evaluation.truth import Truth
from sdcl.methods import METHODS, Stage
from sdcl.methods.stage import Features, Rows
from sdcl.models.extract import calibrate_necks, embed
from sdcl.models.replicas import Replicas
from sdcl.models.start import starting_model
from sdcl.runtime import checkpoint, distributed
from sdcl.runtime.run_log import RunLog, environment
from sdcl.test import TestSet


def main(argv: list[str] | None = None) -> int:
    """Command line entry. Exit codes: 0 finished, 2 bad input or a run that cannot go on (the message says why)."""
    try:
        settings, origin, _ = parse(argv, "python -m sdcl.train", "Train one method on one data set.")
        train(settings, describe(settings, origin))
        return 0
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    finally:
        distributed.stop()


def train(settings: Settings, said: str = "") -> dict[str, Any]:
    """The whole run. Returns the last epoch's row of metrics.jsonl."""
    processes = distributed.start(settings.run.device)
    log = RunLog(settings.run_dir, processes.main)
    log.line(said)
    where = (settings.data.dataset, settings.data_dir)

    # images: from here on a training image is a path and a camera
    samples = training_samples(*where, trial=settings.data.trial, allow_incomplete=settings.data.allow_incomplete)
    for notice in notices(*where, settings.data.trial):
        log.line(f"note: {notice}")
    paths = {m: [s.path for s in samples[m]] for m in MODALITIES}
    cameras = {m: np.array([s.camera for s in samples[m]]) for m in MODALITIES}
    truth = Truth(samples)
    data = fingerprint_of(paths)
    train_stores = open_stores(paths, settings, settings.data.resize_train, processes, "training")
    extract_stores = open_stores(paths, settings, settings.data.resize_extract, processes, "clustering")
    test_set = TestSet(settings, processes) if settings.run.eval_step else None

    # model, method, optimiser
    torch.manual_seed(settings.run.seed)
    model, loaded = starting_model(settings)
    log.line(loaded)
    model.to(processes.device)
    bf16 = processes.bf16(settings.run.precision)
    method = METHODS[settings.run.method](settings, cameras)
    optimizer = make_optimizer(model, settings)
    first = resume(settings, model, optimizer, data, log)
    if first == 0 and settings.model.calibrate_necks:
        calibrate_necks(model, extract_stores, batch_size=settings.test.test_batch_size, bf16=bf16, seed=settings.run.seed)
    parallel = wrap(model, settings, processes)
    log.write_json("config.json", flat(settings))
    log.write_json("environment.json", environment(processes.device, processes.count, data))
    if first >= settings.optim.epochs:
        log.line(f"nothing to do: {settings.run_dir} holds all {settings.optim.epochs} epochs")

    def extract(rows: Rows | None = None) -> Features:
        how = {"batch_size": settings.test.test_batch_size, "bf16": bf16, "unit_views": method.unit_views, "title": "training"}
        with clock("embed"):
            return {m: embed(model, extract_stores[m], m, rows=r, **how) for m, r in (rows or dict.fromkeys(MODALITIES)).items()}

    for epoch in range(first, settings.optim.epochs):
        seconds = {"embed": 0.0, "cluster": 0.0, "train": 0.0, "test": 0.0}
        clock = stopwatch(seconds, processes.device)
        if epoch in method.restarts:
            optimizer = make_optimizer(model, settings)
        lr = learning_rate(settings, epoch - max([0, *(r for r in method.restarts if r <= epoch)]))
        for group in optimizer.param_groups:
            group["lr"] = lr
        began, embedded = time.perf_counter(), 0.0
        done: list[tuple[Stage, dict[str, float]]] = []
        for stage in method.stages(epoch, extract, distributed.once):
            seconds["cluster"] += time.perf_counter() - began - (seconds["embed"] - embedded)
            seed = (settings.run.seed, epoch, len(done))
            with clock("train"):
                losses = train_stage(stage, seed, parallel, optimizer, train_stores, cameras, settings, processes, bf16)
            done.append((stage, losses))
            distributed.broadcast_buffers(model)
            began, embedded = time.perf_counter(), seconds["embed"]
        seconds["cluster"] += time.perf_counter() - began - (seconds["embed"] - embedded)
        row = {"epoch": epoch, "lr": lr, **summarize(done, truth)}
        if test_set and (epoch % settings.run.eval_step == settings.run.eval_step - 1 or epoch == settings.optim.epochs - 1):
            with clock("test"):
                row["test"] = to_rows(test_set.evaluate(model, bf16))
        row["seconds"] = seconds
        finish_epoch(settings, epoch, model, optimizer, data, log, row, processes)
    return log.rows[-1]


def train_stage(
    stage: Stage,
    seed: tuple[int, ...],
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    stores: dict[str, ImageStore],
    cameras: dict[str, np.ndarray],
    settings: Settings,
    processes: distributed.Processes,
    bf16: bool,
) -> dict[str, float]:
    """All steps of one stage. Returns the mean of every loss term, nothing for a stage without steps.

    Args:
        seed: (seed, epoch, number of the stage in it), from which every random number of the stage follows.

    Raises:
        ValueError: a loss became NaN or infinite; the last checkpoint on disk is from before.
    """
    if not stage.iterations:
        return {}
    model.train()
    title = f"epoch {seed[1]}, stage {stage.name}"
    views, batches = training_views(settings), draw_batches(stage, cameras, settings, seed)
    history: list[Tensor] = []
    bar = tqdm(range(stage.iterations), title, unit="step", disable=None if processes.main else True, leave=False)
    for step in bar:
        batch = make_batch(stage, {m: b[step] for m, b in batches.items()}, views, processes)
        here = (*seed, step)
        images = {m: load_views(stores[m], batches[m][step], views[m], (*here, i), batch.local[m]) for i, m in enumerate(MODALITIES)}
        with torch.autocast(processes.device.type, torch.bfloat16, enabled=bf16):
            features = model(images, seed=words(*here, 99)[0] >> 33)
        features = {m: {b: f.float() for b, f in branches.items()} for m, branches in features.items()}
        everyone = {m: {b: distributed.gather_rows(f.detach()) for b, f in branches.items()} for m, branches in features.items()}
        terms = stage.losses(features, everyone, batch)
        optimizer.zero_grad(set_to_none=True)
        sum(terms.values()).backward()
        optimizer.step()
        history.append(torch.stack([t.detach() for t in terms.values()]))
        if (step + 1) % settings.run.print_freq == 0 or step + 1 == stage.iterations:
            recent = read_losses(history, list(terms), title, settings)
            bar.set_postfix({"loss": f"{sum(recent.values()):.3f}"})
    return recent


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
        "labels": {name: truth.describe(name, found, stage.scope) for stage, _ in done for name, found in stage.report.items()},
    }


def learning_rate(settings: Settings, epochs: int) -> float:
    """StepLR, `epochs` after its start."""
    return settings.optim.lr * settings.optim.gamma ** (epochs // settings.optim.step_size)


def read_losses(history: list[Tensor], names: list[str], title: str, settings: Settings) -> dict[str, float]:
    """Mean of each term over the steps so far and over the processes: the one place where the device is waited for."""
    terms = distributed.gather_rows(torch.stack(history)[None]).mean(0).cpu()  # (steps, terms)
    bad = (~torch.isfinite(terms)).nonzero()
    if len(bad):
        step, term = bad[0].tolist()
        raise ValueError(
            f"{title}, step {step}: the loss term {names[term]} became {terms[step, term].item()}. Nothing of "
            f"this epoch was saved; {settings.run_dir} holds the epochs before. Try a lower --lr, --precision fp32 or a larger --temp"
        )
    return dict(zip(names, terms.mean(0).tolist()))


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
        raise ValueError(
            f"{count} processes and --bn-replicas {replicas} cannot share {visible} visible and {settings.batch.batch_size} infrared "
            "rows evenly; change --batch-size, --bn-replicas or the number of processes"
        )
    if count > replicas:
        distributed.synchronise_batch_norm(model, replicas)
    here = max(replicas // count, 1)
    return distributed.data_parallel(Replicas(model, here, processes.rank * here), processes)


def make_optimizer(model: nn.Module, settings: Settings) -> torch.optim.Optimizer:
    trained, own = [p for p in model.parameters() if p.requires_grad], settings.optim
    if own.optimizer == "adam":
        return torch.optim.Adam(trained, lr=own.lr, weight_decay=own.weight_decay)
    return torch.optim.SGD(trained, lr=own.lr, momentum=own.optimizer_momentum, weight_decay=own.weight_decay)


def resume(settings: Settings, model: nn.Module, optimizer: torch.optim.Optimizer, data: str, log: RunLog) -> int:
    """Take over the run folder's last checkpoint, if there is one. Returns the first epoch to train."""
    state, said = checkpoint.latest(settings.run_dir) if settings.run.resume else (None, "")
    if said:
        log.line(f"note: {said}")
    if state is None:
        log.restore([])
        return 0
    changed = checkpoint.refuse_differences(state, settings, data, settings.run.resume_anyway)
    if changed:
        log.line(f"note: continuing although these changed:\n{changed}")
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    log.restore(state["rows"])
    log.line(f"continuing after epoch {state['epoch']} of {settings.run_dir}")
    return state["epoch"] + 1


def finish_epoch(
    settings: Settings, epoch: int, model: nn.Module, optimizer: torch.optim.Optimizer, data: str, log: RunLog, row: dict, processes: Any
) -> None:
    """Save the state, then tell. Random numbers need no state: each is a function of seed, epoch and step."""
    ended = log.rows[-1]["stage"] if log.rows and log.rows[-1]["stage"] != row["stage"] else ""
    log.rows.append(row)
    if processes.main:
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch, "settings": flat(settings)}
        state |= {"data": data, "rows": log.rows}
        if ended:
            checkpoint.keep_as(settings.run_dir, f"stage_{ended}.pt")
        checkpoint.save(settings.run_dir, checkpoint.LAST, state)
    log.rows.pop()
    log.epoch(row)
    distributed.barrier()


def stopwatch(seconds: dict[str, float], device: torch.device) -> Any:
    """clock("train") adds the seconds of a with-block to its phase; the GPU is waited for, once per phase."""

    @contextmanager
    def clock(phase: str) -> Any:
        began = time.perf_counter()
        yield
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds[phase] += time.perf_counter() - began

    return clock


if __name__ == "__main__":
    sys.exit(main())
