"""Make a starting weight: `python -m sdcl.pretraining.pretrain --out FILE [--images DIR ...]`.

    crops (folders, or rendered people) -> objective -> single-stem ViT -> safetensors with the command's settings and a probe

Objectives: "tracks" (frames of a track attract, other tracks of the same camera repel; no label), "dino" (self-distillation, as
TransReID-SSL made SDCL's own weights; no label), "identity" (classification of OTHER, synthetic people in VISIBLE images only, as
ImageNet labels serve ADCA and GUR; supervised, and called by its name wherever the weight is used). Rendered people and cameras come
from the renderer's pre-training namespace, from which no benchmark set draws. `--images` reads DIR/CAMERA/TRACK/image or DIR/image.

The same command continues a stopped run. On several GPUs: torchrun --nproc_per_node N -m sdcl.pretraining.pretrain ...
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, get_type_hints

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn
from tqdm import tqdm

from sdcl.data.image_cache import content_fingerprint
from sdcl.models.factory import single_stem_backbone
from sdcl.models.weight_formats import read_tensors
from sdcl.pretraining.crops import Crops, Drawing, folder_crops, rendered_people, rendered_tracks
from sdcl.pretraining.objectives import Dino, Identity, Looks, Tracks
from sdcl.pretraining.probe import PEOPLE, probe, probe_images
from sdcl.runtime import checkpoint, distributed
from sdcl.runtime.errors import UserError
from sdcl.runtime.files import atomic
from sdcl.runtime.program import program

OBJECTIVES = ("tracks", "dino", "identity")
BESIDE = {"out", "device", "jobs", "save_every", "probe_every", "cache_dir"}  # may differ when a run is continued


def _flag(default: Any, help: str, choices: tuple | None = None) -> Any:
    return field(default=default, metadata={"help": help, "choices": choices})


@dataclass(frozen=True)
class PretrainSettings:
    """What the command line says."""

    out: str = _flag("", "safetensors file to write")
    images: tuple[str, ...] = _flag((), "folders of person crops, of any modality, DIR/CAMERA/TRACK/image; without: rendered people")
    init: str = _flag("", "weight of an earlier pre-training to go on from, such as identity first and tracks then")
    arch: str = _flag("vit_mini", "a ViT of sdcl.models.factory.ARCHS")
    objective: str = _flag("tracks", "see above", OBJECTIVES)
    height: int = _flag(96, "image height in pixels")
    width: int = _flag(48, "image width in pixels")
    cameras: int = _flag(300, "rendered cameras, half of them visible (identity: all)")
    tracks: int = _flag(24, "rendered tracks of a camera (tracks, dino)")
    frames: int = _flag(4, "rendered frames of a track (tracks, dino)")
    people: int = _flag(3000, "rendered people (identity: 500 will do)")
    images_per_person: int = _flag(20, "rendered images of a person (identity)")
    color_jitter: float = _flag(0.4, "strength of colour jitter")
    erase: float = _flag(0.3, "probability of random erasing")
    cameras_per_batch: int = _flag(4, "cameras that a batch draws tracks from (tracks)")
    temperature: float = _flag(0.1, "of the contrast (tracks)")
    local_crops: int = _flag(4, "small crops of an image (dino)")
    prototypes: int = _flag(2048, "outputs of the head (dino)")
    teacher_momentum: float = _flag(0.99, "share of the teacher that stays at the first step; 1 at the last (dino)")
    iters: int = _flag(1600, "optimiser steps")
    batch_size: int = _flag(128, "images of a step over all processes; DINO counts tracks, which it sees several times each")
    lr: float = _flag(2e-3, "largest learning rate; linear warm-up over 50 steps, then half a cosine")
    frozen: float = _flag(0.01, "share of the steps in which the head's prototypes stay as they were drawn (dino)")
    weight_decay: float = _flag(0.05, "of AdamW")
    weight_decay_end: float = _flag(0.4, "at the last step, along half a cosine; biases and norms then have none at all (dino)")
    difficulty: str = _flag("medium", "of the rendered images", ("easy", "medium", "hard"))
    precision: str = _flag("auto", "bf16 autocast or float32; auto: bf16 where the hardware has it", ("auto", "fp32", "bf16"))
    device: str = _flag("auto", "auto, cpu, cuda or cuda:N")
    seed: int = _flag(1000, "seed of people, cameras, weights and order")
    jobs: int = _flag(os.cpu_count() or 1, "processes that render, threads that decode")
    cache_dir: str = _flag("cache", "folder of the decoded crops")
    save_every: int = _flag(200, "steps between two checkpoints, OUT.unfinished")
    probe_every: int = _flag(400, "steps between two probes; 0: only at the end")


@program
def main(argv: list[str] | None = None) -> int:
    """Command line entry. Exit codes: 0 written, 2 bad input (the message says why)."""
    pretrain(parse(argv))
    return 0


def parse(argv: list[str] | None) -> PretrainSettings:
    parser = argparse.ArgumentParser(
        prog="python -m sdcl.pretraining.pretrain",
        description=__doc__,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    hints = get_type_hints(PretrainSettings)
    for one in dataclasses.fields(PretrainSettings):
        flag, meta = "--" + one.name.replace("_", "-"), one.metadata
        if one.name == "images":
            parser.add_argument(flag, nargs="+", default=(), metavar="DIR", help=meta["help"])
        else:
            text = meta["help"] + ("" if one.name == "out" else f" (default {one.default})").replace("%", "%%")
            parser.add_argument(
                flag, type=hints[one.name], default=one.default, choices=meta["choices"], required=one.name == "out", help=text
            )
    said = vars(parser.parse_args(argv))
    return PretrainSettings(**{**said, "images": tuple(said["images"])})


def pretrain(settings: PretrainSettings) -> dict[str, float]:
    """Train, probe, and write the weight with its settings and probe inside. Returns the probe.

    Raises:
        ValueError: settings that cannot be, images that cannot be read, a loss that is not finite, or a checkpoint of another command.
    """
    check(settings)
    processes = distributed.start(settings.device)
    device, out = processes.device, Path(settings.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    drawing = Drawing(settings.seed, settings.difficulty, (settings.height, settings.width))
    torch.manual_seed(settings.seed)
    backbone = single_stem_backbone(settings.arch, settings.height, settings.width)  # refuses before anything is drawn
    earlier = start_from(backbone, Path(settings.init)) if settings.init else {}
    crops = read_crops(settings, drawing, device)
    objective = make_objective(settings, backbone, crops, processes.count).to(device)
    optimizer = torch.optim.AdamW(parameter_groups(settings, objective), lr=settings.lr, weight_decay=settings.weight_decay, fused=True)
    state = {"settings": compared(settings), "crops": len(crops), "step": 0, "seconds": 0.0}
    unfinished = Path(f"{out}.unfinished")
    if unfinished.is_file():
        state = resume(unfinished, state, objective, optimizer, device)
    tests = probe_images(drawing, settings.people, settings.cameras, settings.jobs, device) if processes.main else {}
    train(settings, objective, crops, optimizer, state, tests, processes)
    found = {}
    if processes.main:
        found = probe(backbone, tests)
        own = {"out": out.name, "init": Path(settings.init).name, "images": len(settings.images), "seconds": round(state["seconds"])}
        note = {k: v for k, v in asdict(settings).items() if k not in BESIDE} | own  # no folder of this machine
        write(backbone, out, {**note, "crops": len(crops), "probe_rank1": found, **earlier})
        unfinished.unlink(missing_ok=True)
    return found


def check(settings: PretrainSettings) -> None:
    """Refuse what no run can have."""
    for name in ("cameras", "tracks", "frames", "people", "images_per_person", "iters", "batch_size", "cameras_per_batch", "save_every"):
        if getattr(settings, name) < 1:
            raise UserError(f"--{name.replace('_', '-')} must be at least 1, got {getattr(settings, name)}")
    if settings.people < settings.tracks and settings.objective != "identity" and not settings.images:
        raise UserError(f"--people {settings.people} are fewer than the --tracks {settings.tracks} of a camera, which sees nobody twice")
    if not (0 <= settings.frozen <= 1 and settings.local_crops >= 0 and settings.prototypes >= 2):
        raise UserError("--frozen is a share from 0 to 1, --local-crops at least 0 and --prototypes at least 2")
    if not (settings.temperature > 0 and settings.lr > 0):
        raise UserError(f"--temperature and --lr must be above 0, got {settings.temperature} and {settings.lr}")


def read_crops(settings: PretrainSettings, drawing: Drawing, device: torch.device) -> Crops:
    if settings.images:
        size = (settings.height, settings.width)
        return folder_crops(settings.images, *size, Path(settings.cache_dir), device, settings.jobs)
    if settings.objective == "identity":
        people = range(settings.people)
        return rendered_people(drawing, people, "visible", settings.images_per_person, settings.cameras, settings.jobs, device)
    return rendered_tracks(drawing, settings.cameras, settings.tracks, settings.frames, settings.people, settings.jobs, device)


def make_objective(settings: PretrainSettings, backbone: nn.Module, crops: Crops, processes: int) -> nn.Module:
    looks = Looks(settings.color_jitter, settings.erase, pad=max(2, settings.height // 24))
    own = max(1, settings.batch_size // processes)
    if settings.objective == "identity":
        return Identity(backbone, crops, looks, own)
    if settings.objective == "dino":
        return Dino(backbone, crops, looks, own, settings.local_crops, settings.prototypes, settings.teacher_momentum, settings.frozen)
    return Tracks(backbone, crops, looks, own, max(1, settings.cameras_per_batch // processes), settings.temperature)


def parameter_groups(settings: PretrainSettings, objective: nn.Module) -> list[dict[str, Any]]:
    """What learns; DINO's matrices first, whose weight decay grows, then its vectors, which have none."""
    learning = [p for p in objective.parameters() if p.requires_grad]
    if settings.objective != "dino":
        return [{"params": learning}]
    return [{"params": [p for p in learning if p.ndim > 1]}, {"params": [p for p in learning if p.ndim <= 1], "weight_decay": 0.0}]


def schedule(settings: PretrainSettings, optimizer: torch.optim.Optimizer, step: int) -> None:
    """Learning rate and weight decay of this step."""
    falling = 0.5 * (1 + math.cos(math.pi * step / settings.iters))  # from 1 to 0
    for group in optimizer.param_groups:
        group["lr"] = settings.lr * min(1, (step + 1) / 50) * falling
    if settings.objective == "dino":
        first, last = settings.weight_decay, settings.weight_decay_end
        optimizer.param_groups[0]["weight_decay"] = last + (first - last) * falling


def train(
    settings: PretrainSettings, objective: nn.Module, crops: Crops, optimizer: torch.optim.Optimizer, state: dict[str, Any],
    tests: dict[str, Crops], processes: distributed.Processes,
) -> None:  # fmt: skip
    """The steps that `state` does not count yet; every random number follows from (seed, step, process)."""
    bf16, wrapped = processes.bf16(settings.precision), distributed.data_parallel(objective, processes)
    objective.train()
    began = time.perf_counter() - state["seconds"]
    steps = range(state["step"], settings.iters)
    for step in (bar := tqdm(steps, "pretrain", unit="step", disable=None if processes.main else True)):
        done = step / settings.iters
        schedule(settings, optimizer, step)
        batch = objective.draw(crops, done, (settings.seed, step, processes.rank))
        with torch.autocast(processes.device.type, torch.bfloat16, enabled=bf16):
            loss = wrapped(*batch)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        objective.before_step(done)
        nn.utils.clip_grad_norm_(objective.parameters(), 1.0)
        optimizer.step()
        objective.after_step((step + 1) / settings.iters)
        state["step"], state["seconds"] = step + 1, time.perf_counter() - began
        if (step + 1) % 10 == 0 or step + 1 == settings.iters:
            value = loss.item()
            if not math.isfinite(value):
                raise UserError(f"the loss became {value} at step {step}; lower --lr, or use --precision fp32")
            bar.set_postfix({"loss": f"{value:.3f}"})
        if processes.main and settings.probe_every and (step + 1) % settings.probe_every == 0:
            found = " ".join(f"{pair} {value:.3f}" for pair, value in probe(objective.backbone, tests).items())
            tqdm.write(f"step {step + 1}: loss {loss.item():.3f}, nearest neighbours among {PEOPLE} other people: {found}")
        if processes.main and (step + 1) % settings.save_every == 0 and step + 1 < settings.iters:
            save(settings, objective, optimizer, state)


# ------------------------------------------------------------------ files


def start_from(backbone: nn.Module, path: Path) -> dict[str, Any]:
    """Load an earlier weight of the same shape. Returns what it says of its making, under "after".

    Raises:
        ValueError: it cannot be read, or is of another architecture or image size.
    """
    tensors = {name: value.float() if value.is_floating_point() else value for name, value in read_tensors(path).items()}
    try:
        backbone.load_state_dict(tensors)
    except RuntimeError as error:
        raise UserError(f"--init {path} does not fit --arch, --height and --width: {str(error).splitlines()[-1].strip()}") from None
    if path.suffix != ".safetensors":
        return {"after": {"out": path.name}}
    with safe_open(path, "pt") as file:
        return {"after": json.loads((file.metadata() or {}).get("sdcl.pretrain", json.dumps({"out": path.name})))}


def compared(settings: PretrainSettings) -> dict[str, Any]:
    """What a continued run must share with the one that was stopped; folders of images by their files' names and sizes."""
    kept = {k: v for k, v in asdict(settings).items() if k not in BESIDE}
    files = [os.path.join(at, name) for folder in settings.images for at, _, names in os.walk(folder) for name in names]
    return {**kept, "images": content_fingerprint(sorted(files)) if files else ""}


def save(settings: PretrainSettings, objective: nn.Module, optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    out = Path(settings.out)
    everything = {**state, "objective": objective.state_dict(), "optimizer": optimizer.state_dict()}
    checkpoint.save(out.parent, f"{out.name}.unfinished", everything)


def resume(
    path: Path, state: dict[str, Any], objective: nn.Module, optimizer: torch.optim.Optimizer, device: torch.device
) -> dict[str, Any]:
    """What a stopped run of the same command had reached.

    Raises:
        ValueError: another command's, or a damaged file.
    """
    found = checkpoint.read(path)
    differing = [k for k, v in state["settings"].items() if found.get("settings", {}).get(k) != v]
    if differing or found.get("crops") != state["crops"]:
        raise UserError(f"{path} is of a run with other settings ({', '.join(differing) or 'images'}); remove it, or choose another --out")
    objective.load_state_dict(found["objective"])
    optimizer.load_state_dict(found["optimizer"])
    print(f"continued from step {found['step']} ({path})")
    return {k: found[k] for k in state}


def write(model: nn.Module, out: Path, note: dict) -> None:
    half = {k: v.cpu().half().contiguous() if v.is_floating_point() else v.cpu() for k, v in model.state_dict().items()}
    with atomic(out) as part:
        save_file(half, part, metadata={"sdcl.pretrain": json.dumps(note)})
    print(f"written: {out} ({out.stat().st_size / 2**20:.1f} MiB)\n{json.dumps(note, indent=2)}")


if __name__ == "__main__":
    sys.exit(main())
