"""Make a starting weight from synthetic people: `python -m sdcl.pretrain --help`.

Objective "identity": classification of synthetic people in VISIBLE images only, as ImageNet labels serve ADCA and GUR. The people and
cameras come from the renderer's pre-training namespace, which no benchmark set draws from; no infrared image is ever shown. It is
supervised pre-training on other people, and is called that wherever the weight is used.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm import tqdm

from sdcl.batches import words
from sdcl.data.augment import Augmentation, augment, augmentation, normalize
from sdcl.data.renderer import random_camera, random_person, render
from sdcl.models.dual_branch import single_stem_backbone

PROBE_PEOPLE = 40


@dataclass(frozen=True)
class PretrainSettings:
    """What the command line says."""

    out: str
    arch: str = "vit_mini"
    objective: str = "identity"
    height: int = 96
    width: int = 48
    people: int = 500
    images_per_person: int = 20
    cameras: int = 300
    color_jitter: float = 0.4
    iters: int = 1600
    batch_size: int = 96
    lr: float = 1e-3
    weight_decay: float = 0.05
    difficulty: str = "medium"
    seed: int = 1000
    jobs: int = os.cpu_count() or 1


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m sdcl.pretrain", description=__doc__, allow_abbrev=False)
    defaults = {f.name: f.default for f in PretrainSettings.__dataclass_fields__.values()}
    for name, kind in PretrainSettings.__annotations__.items():
        flag = "--" + name.replace("_", "-")
        if name == "out":
            parser.add_argument(flag, required=True, help="safetensors file to write")
        else:
            choices = ("identity",) if name == "objective" else None
            parser.add_argument(flag, type={"str": str, "int": int, "float": float}[kind], default=defaults[name], choices=choices)
    settings = PretrainSettings(**vars(parser.parse_args(argv)))
    try:
        pretrain(settings)
        return 0
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def pretrain(settings: PretrainSettings) -> dict[str, float]:
    """Train, probe, and write the weight with its settings and probe beside it. Returns the probe."""
    out = Path(settings.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    torch.manual_seed(settings.seed)
    images = render_people(settings, range(settings.people), "visible", settings.images_per_person)
    labels = np.repeat(np.arange(settings.people), settings.images_per_person)
    model = single_stem_backbone(settings.arch, settings.height, settings.width)
    head = nn.Sequential(nn.BatchNorm1d(model.feature_dim), nn.Linear(model.feature_dim, settings.people, bias=False))
    optimizer = torch.optim.AdamW([*model.parameters(), *head.parameters()], lr=settings.lr, weight_decay=settings.weight_decay)
    generator = np.random.default_rng((settings.seed, 1))
    shared = {"color_jitter": settings.color_jitter, "pad": max(2, settings.height // 24)}
    views = [augmentation("visible", view, **shared) for view in ("plain", "exchanged")]
    bar = tqdm(range(settings.iters), "pretrain", unit="step", disable=None)
    for step in bar:
        for group in optimizer.param_groups:
            group["lr"] = settings.lr * min(1, (step + 1) / 100) * 0.5 * (1 + math.cos(math.pi * step / settings.iters))
        rows = generator.integers(0, len(images), settings.batch_size)
        batch = torch.cat(
            [load(images, half, view, (settings.seed, step, v)) for v, (half, view) in enumerate(zip(np.split(rows, 2), views))]
        )
        loss = F.cross_entropy(head(model(batch)), torch.from_numpy(labels[rows]), label_smoothing=0.1)
        if not torch.isfinite(loss):
            raise ValueError(f"the loss became {loss.item()} at step {step}; lower --lr")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        bar.set_postfix({"loss": f"{loss.item():.3f}"})
        if (step + 1) % 500 == 0 or step + 1 == settings.iters:
            probe = probe_people(model, settings)
            tqdm.write(f"step {step + 1}: loss {loss.item():.3f} " + " ".join(f"{k} {v:.3f}" for k, v in probe.items()))
    note = {**asdict(settings), "out": out.name, "seconds": round(time.perf_counter() - began), "probe_rank1": probe}
    write(model, out, note)
    return probe


def load(images: np.ndarray, rows: np.ndarray, view: Augmentation, seed: tuple[int, ...]) -> Tensor:
    """Half a batch is seen in colour, the other half through one random channel, so that shape has to do where hue does not."""
    return augment(torch.from_numpy(images[rows]), view, words(*seed, count=len(rows)))


def write(model: nn.Module, out: Path, note: dict) -> None:
    half = {k: v.half().contiguous() if v.is_floating_point() else v for k, v in model.state_dict().items()}
    part = out.with_name(out.name + ".tmp")
    save_file(half, part, metadata={"sdcl.pretrain": json.dumps(note)})
    os.replace(part, out)
    print(f"written: {out} ({out.stat().st_size / 2**20:.1f} MiB)\n{json.dumps(note, indent=2)}")


def render_people(settings: PretrainSettings, people: range, modality: str, count: int) -> np.ndarray:
    """uint8 (people x count, H, W, 3): each image by a random camera."""
    tasks = [(settings, p, modality, count) for p in people]
    with ProcessPoolExecutor(settings.jobs) as pool:
        done = tqdm(pool.map(render_person, tasks, chunksize=4), f"render {modality}", len(tasks), unit="person", disable=None)
        return np.concatenate(list(done))


def render_person(task: tuple[PretrainSettings, int, str, int]) -> np.ndarray:
    settings, number, modality, count = task
    person, size = random_person((settings.seed, number)), (settings.height, settings.width)
    which = np.random.default_rng((settings.seed, number)).integers(0, settings.cameras, count)
    shots = []
    for i, c in enumerate(which.tolist()):
        camera = random_camera((settings.seed, c, modality == "infrared"), modality)
        shots.append(render(person, camera, (settings.seed, number, i, modality == "infrared"), settings.difficulty, size))
    return np.stack(shots)


@torch.no_grad()
def probe_people(model: nn.Module, settings: PretrainSettings) -> dict[str, float]:
    """Rank-1 of cosine nearest neighbours on people who were not trained on, four images each by random cameras."""
    people = range(settings.people, settings.people + PROBE_PEOPLE)
    model.eval()
    found = {}
    for modality in ("visible", "infrared"):
        images = torch.from_numpy(render_people(settings, people, modality, 4))
        found[modality] = F.normalize(model(normalize(images)))
    model.train()
    names = torch.arange(PROBE_PEOPLE).repeat_interleave(4)
    pairs = (("visible", "visible"), ("infrared", "infrared"), ("infrared", "visible"))
    return {f"{q}->{g}": rank1(found[q], found[g], names, same=q == g) for q, g in pairs}


def rank1(query: Tensor, gallery: Tensor, names: Tensor, same: bool) -> float:
    similarity = query @ gallery.T
    if same:
        similarity.fill_diagonal_(-2)
    return float((names[similarity.argmax(1)] == names).float().mean())


if __name__ == "__main__":
    sys.exit(main())
