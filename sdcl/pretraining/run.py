"""One pretraining run: crops, objective, optimiser steps, probe, weights."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from sdcl.data.normalization import Normalization
from sdcl.models.factory import single_stem_backbone
from sdcl.models.vit import SingleStemViT
from sdcl.pretraining import weights
from sdcl.pretraining.crops import (
    Crops,
    RenderSettings,
    dataset_crops,
    folder_crops,
    rendered_identities,
    rendered_tracks,
)
from sdcl.pretraining.objectives import (
    DINO,
    IdentityClassification,
    Objective,
    TrackContrast,
    ViewAugmentation,
)
from sdcl.pretraining.probe import IDENTITIES, probe, probe_images
from sdcl.pretraining.settings import PretrainSettings
from sdcl.runtime import distributed
from sdcl.runtime.errors import TrainingError

WARMUP_STEPS = 50


def pretrain(settings: PretrainSettings) -> dict[str, float]:
    """Train, probe, and write the weights with settings and probe results as metadata.

    Returns:
        Rank-1 of the probe by "query->gallery"; empty on all processes but the first.

    Raises:
        UserError: images, weights or a checkpoint that cannot be read or do not fit, or a loss that is not
            finite.
    """
    processes = distributed.start(settings.device)
    device, out = processes.device, Path(settings.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    rendering = RenderSettings(settings.seed, settings.difficulty, (settings.height, settings.width))
    torch.manual_seed(settings.seed)
    # fails before any rendering
    backbone = single_stem_backbone(settings.arch, settings.height, settings.width)
    chosen = Normalization.of({"mean": settings.mean, "std": settings.std}) if settings.mean else None
    backbone.normalization = chosen or backbone.normalization
    history = weights.load_initial(backbone, Path(settings.init), chosen) if settings.init else {}
    crops = make_crops(settings, rendering, device)
    objective = make_objective(settings, backbone, crops, processes.count).to(device)
    groups = parameter_groups(settings, objective)
    optimizer = torch.optim.AdamW(groups, lr=settings.lr, weight_decay=settings.weight_decay, fused=True)
    state: dict[str, Any] = {
        "settings": weights.recorded_settings(settings),
        "crops": len(crops),
        "step": 0,
        "seconds": 0.0,
    }
    checkpoint = Path(f"{out}.unfinished")
    if checkpoint.is_file():
        state = weights.resume(checkpoint, state, objective, optimizer)
    tests = {}
    if processes.main:
        tests = probe_images(rendering, settings.people, settings.cameras, settings.jobs, device)
    train(settings, objective, crops, optimizer, state, tests, processes)
    if not processes.main:
        return {}
    results = probe(backbone, tests)
    about = {"seconds": round(state["seconds"]), "crops": len(crops), "probe_rank1": results}
    weights.write(backbone, out, {**weights.metadata(settings), **about, **history})
    checkpoint.unlink(missing_ok=True)
    return results


def make_crops(settings: PretrainSettings, rendering: RenderSettings, device: torch.device) -> Crops:
    """Crops of a data set of tracks, of the --images folders, or rendered for the objective."""
    if settings.images:
        source = (settings.height, settings.width, Path(settings.cache_dir), device, settings.jobs)
        if settings.dataset:
            return dataset_crops(settings.dataset, settings.images[0], *source)
        return folder_crops(settings.images, *source)
    if settings.objective == "identity":
        identities, images = range(settings.people), settings.images_per_person
        return rendered_identities(
            rendering, identities, "visible", images, settings.cameras, settings.jobs, device
        )
    sizes = (settings.cameras, settings.tracks, settings.frames, settings.people)
    return rendered_tracks(rendering, *sizes, settings.jobs, device)


def make_objective(
    settings: PretrainSettings, backbone: SingleStemViT, crops: Crops, processes: int
) -> Objective:
    """The objective of the settings; batch size and cameras are shared among the processes."""
    pad = max(2, settings.height // 24)
    augmentation = ViewAugmentation(settings.color_jitter, settings.erase, pad, backbone.normalization)
    batch_size = max(1, settings.batch_size // processes)
    if settings.objective == "identity":
        return IdentityClassification(backbone, crops, augmentation, batch_size)
    if settings.objective == "dino":
        head = (settings.local_crops, settings.prototypes, settings.teacher_momentum, settings.frozen)
        return DINO(backbone, crops, augmentation, batch_size, *head)
    cameras = max(1, settings.cameras_per_batch // processes)
    return TrackContrast(backbone, crops, augmentation, batch_size, cameras, settings.temperature)


def parameter_groups(settings: PretrainSettings, objective: nn.Module) -> list[dict[str, Any]]:
    """Parameter groups of AdamW; for DINO, matrices, then vectors, which have no weight decay."""
    trainable = [p for p in objective.parameters() if p.requires_grad]
    if settings.objective != "dino":
        return [{"params": trainable}]
    matrices = {"params": [p for p in trainable if p.ndim > 1]}
    vectors = {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": 0.0}
    return [matrices, vectors]


def set_schedule(settings: PretrainSettings, optimizer: torch.optim.Optimizer, step: int) -> None:
    """Set learning rate and weight decay of a step."""
    cosine = 0.5 * (1 + math.cos(math.pi * step / settings.iters))  # from 1 to 0
    for group in optimizer.param_groups:
        group["lr"] = settings.lr * min(1, (step + 1) / WARMUP_STEPS) * cosine
    if settings.objective == "dino":
        first, last = settings.weight_decay, settings.weight_decay_end
        optimizer.param_groups[0]["weight_decay"] = last + (first - last) * cosine


def train(
    settings: PretrainSettings,
    objective: Objective,
    crops: Crops,
    optimizer: torch.optim.Optimizer,
    state: dict[str, Any],
    tests: dict[str, Crops],
    processes: distributed.Processes,
) -> None:
    """Run the remaining steps. Every random number follows from (seed, step, rank).

    Raises:
        TrainingError: the loss is not finite.
    """
    bf16, model = processes.bf16(settings.precision), distributed.data_parallel(objective, processes)
    objective.train()
    start = time.perf_counter() - state["seconds"]
    steps = range(state["step"], settings.iters)
    bar = tqdm(steps, "pretrain", unit="step", disable=None if processes.main else True)
    for step in bar:
        progress = step / settings.iters
        set_schedule(settings, optimizer, step)
        batch = objective.sample_batch(crops, progress, (settings.seed, step, processes.rank))
        with torch.autocast(processes.device.type, torch.bfloat16, enabled=bf16):
            loss = model(*batch)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        objective.before_step(progress)
        nn.utils.clip_grad_norm_(objective.parameters(), 1.0)
        optimizer.step()
        completed = step + 1
        objective.after_step(completed / settings.iters)
        state["step"], state["seconds"] = completed, time.perf_counter() - start
        if completed % 10 == 0 or completed == settings.iters:
            value = loss.item()
            if not math.isfinite(value):
                raise TrainingError(
                    f"the loss is {value} at step {step}; lower --lr, or use --precision fp32"
                )
            bar.set_postfix({"loss": f"{value:.3f}"})
        if not processes.main:
            continue
        if settings.probe_every and completed % settings.probe_every == 0:
            results = probe(objective.backbone, tests)
            rank1 = " ".join(f"{pair} {value:.3f}" for pair, value in results.items())
            tqdm.write(
                f"step {completed}: loss {loss.item():.3f}, probe Rank-1, {IDENTITIES} identities: {rank1}"
            )
        if completed % settings.save_every == 0 and completed < settings.iters:
            weights.save_checkpoint(Path(settings.out), objective, optimizer, state)
