"""Every method on the small version of each kind of backbone, on a synthetic set, with one tiny budget.

    python benchmarks/backbones.py                                    # writes docs/methods/backbones.md
    python benchmarks/backbones.py --backbones dinov2_mini --methods sdcl gur

It renders the images, pretrains the ViTs with labels, and trains all cells.
A finished cell is not repeated, a stopped one continues.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import common

from sdcl.config import METHODS

PAGE = Path(__file__).parent.parent / "docs" / "methods" / "backbones.md"
IDENTITIES, IMAGES = 24, 5  # of the synthetic set, and of each by each camera
EPOCHS, STEPS = 3, 10
PRETRAINING = (
    "--objective identity --people 100 --images-per-person 8 --iters 200 --batch-size 64 --lr 1e-3 "
    "--probe-every 0"
)
PRETRAINED = "start"  # the row before any method


@dataclass(frozen=True)
class Kind:
    """A small backbone.

    Args:
        height, width: of its images. stands_for: the architectures and weights whose form it has.
    """

    stands_for: str
    height: int = 96
    width: int = 48


BACKBONES = {
    "vit_mini": Kind("vit_base, vit_small: TransReID-SSL's ICS stem"),
    "vit_mini_plain": Kind("vit_base_plain, vit_small_plain: PersonViT, timm"),
    "dinov2_mini": Kind("dinov2_small, _base, _large: patches of 14, LayerScale", 98, 42),
    "clip_mini": Kind("clip_base: norm before the blocks, QuickGELU"),
    "resnet_mini": Kind("resnet50: torchvision, timm, LUPerson"),
    "resnet_mini_nl": Kind("resnet50_nl: with non-local blocks"),
}
SETTINGS: dict[str, Any] = {
    "epochs": EPOCHS,
    "iters": STEPS,
    "iters_unified": STEPS,
    "batch_size": 16,
    "batch_size_visible": 16,
    "num_instances": 4,
    "optimizer": "adam",
    "lr": 1e-4,
    "step_size": 100,
    "pad": 4,
    "calibrate_necks": True,
    "bn_replicas": 2,
    "eps": 0.5,
    "eps_backoff": 6,  # features from random weights lie close together or far apart
    "k1": 15,
    "k1_visible_unified": 15,
    "k2": 4,
    "momentum": 0.9,
    "momentum_first": 0.9,
    "color_jitter": 0.5,
    "precision": "fp32",
    "report": "none",
    "eval_step": 1000,
    # every part of each method within the epochs
    "cross_from": 1,
    "unify_from": 2,
    "cra_k": 3,
    "aggregate_from": 1,
    "camera_eps": 0.5,
    "camera_iters": 2,
    "propagate_from": 1,
    "propagation_k": 5,
    "structure_from": 2,
    "structure_k": 5,
    "inter_modality_until": 2,
    "match_from": 1,
    "joint_from": 1,
    "identity_from": 1,
    "interact_from": 1,
    "refine_from": 2,
    "refine_k": 5,
    "associate_from": 1,
    "centres": 2,
    "max_similarity": 1.0,  # a start at chance is measured, not stopped
    "min_rank": 0.0,
}


def main() -> int:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    add = parser.add_argument
    add("--work", type=Path, default=Path("logs/backbones"), help="folder of images, weights and runs")
    add("--backbones", nargs="+", choices=BACKBONES, default=list(BACKBONES), metavar="ARCH")
    add("--methods", nargs="+", choices=list(METHODS), default=list(METHODS), metavar="METHOD")
    add(
        "--jobs",
        type=int,
        default=1,
        help="runs at once; they share the CPU cores (more than one: slower steps)",
    )
    add("--seed", type=int, default=1)
    add("--quick", action="store_true", help="tiny sizes: a test of the script, not of methods")
    add("--out", type=Path, default=PAGE)
    args = parser.parse_args()
    threads = max(1, (os.cpu_count() or 1) // args.jobs)
    prepare(args.work, args.quick)
    with ThreadPoolExecutor(args.jobs) as pool:
        list(pool.map(lambda arch: weight_of(args.work, arch, threads, args.quick), args.backbones))
        cells = [(arch, method) for arch in args.backbones for method in (PRETRAINED, *args.methods)]
        list(pool.map(lambda cell: train(args.work, *cell, args.seed, threads, args.quick), cells))
    page = to_markdown(finished(args.work), threads, args.jobs, args.seed)
    print(page)
    args.out.write_text(page, encoding="utf-8")
    return 0


def prepare(work: Path, quick: bool) -> None:
    """Render the images, once, and write the settings of all runs."""
    work.mkdir(parents=True, exist_ok=True)
    size = (8, 3) if quick else (IDENTITIES, IMAGES)
    flags = ("--layout", "sysu", "--difficulty", "medium", "--seed", 0, "--out", work / "data")
    if not (work / "rendered").exists():
        common.sdcl("synthesize", *flags, "--identities", size[0], "--images-per-camera", size[1])
        (work / "rendered").touch()
    tiny = {
        "epochs": 1,
        "iters": 1,
        "batch_size": 8,
        "batch_size_visible": 8,
        "num_instances": 2,
        "k1": 6,
        "k2": 2,
    }
    (work / "settings.json").write_text(json.dumps(SETTINGS | tiny if quick else SETTINGS, indent=2))


def weight_of(work: Path, arch: str, threads: int, quick: bool) -> str:
    """What --pretrained takes: a ViT that `sdcl pretrain` made with labels; for a ResNet "none"."""
    if arch.startswith("resnet"):
        return "none"
    file, kind = work / "weights" / f"{arch}.safetensors", BACKBONES[arch]
    if not file.is_file():
        flags = ["--arch", arch, "--height", kind.height, "--width", kind.width, "--out", file]
        flags += [*PRETRAINING.split(), "--precision", "fp32", "--device", "cpu"]
        tiny = (
            "--people 4 --images-per-person 2 --iters 1 --batch-size 4 --cameras 4".split() if quick else []
        )
        file.parent.mkdir(parents=True, exist_ok=True)
        common.measured_run(["pretrain", *flags, *tiny], work / f"pretrain_{arch}.txt", threads)
    return str(file)


def flags_of(work: Path, arch: str, method: str, seed: int) -> list[str]:
    """The flags of `sdcl train` for one cell; the cell "start" takes one step of no length."""
    kind = BACKBONES[arch]
    weight = "none" if arch.startswith("resnet") else work / "weights" / f"{arch}.safetensors"
    flags = ["-d", "sysu", "--data-dir", work / "data", "--cache-dir", work / "cache"]
    flags += ["--logs-dir", work / "runs" / f"{arch}_{method}_{seed}", "--config", work / "settings.json"]
    flags += ["-a", arch, "--pretrained", weight, "--height", kind.height, "--width", kind.width]
    flags += ["--device", "cpu", "--seed", seed]
    if method == PRETRAINED:
        flags += ["--method", "baseline", "--epochs", 1, "--iters", 1, "--lr", "1e-30"]
    else:
        flags += ["--method", method, *labels_of(method)]
    return list(map(str, flags))


def labels_of(method: str) -> list[str]:
    """The side that a method needs the labels of, if it does not train without."""
    usable = getattr(METHODS[method], "labels", ("none",))
    return [] if "none" in usable else ["--labels", usable[0]]


def train(work: Path, arch: str, method: str, seed: int, threads: int, quick: bool) -> None:
    """Train one cell, unless it is finished, and write to cells/ what it reached or why it failed."""
    cell = work / "cells" / f"{arch} {method} {seed}.json"
    if cell.is_file() and "failed" not in json.loads(cell.read_text()):
        return
    cell.parent.mkdir(parents=True, exist_ok=True)
    flags = flags_of(work, arch, method, seed)
    run = Path(flags[flags.index("--logs-dir") + 1])
    result: dict[str, Any] = {"arch": arch, "method": method, "seed": seed}
    try:
        result["peak_bytes"] = common.measured_run(["train", *flags], run.with_suffix(".txt"), threads)
        result |= common.all_search(run)
        rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        steps = sum(sum(row["iterations"].values()) for row in rows)
        result["seconds_per_step"] = sum(row["seconds"]["train"] for row in rows) / max(1, steps)
        result["steps"] = steps
    except common.RunFailed as error:
        result["failed"] = str(error)
    cell.write_text(json.dumps(result, indent=2))
    print(json.dumps(result), flush=True)


def finished(work: Path) -> list[dict[str, Any]]:
    """The cells that ran, of all calls."""
    return [json.loads(file.read_text()) for file in sorted((work / "cells").glob("*.json"))]


# ------------------------------------------------------------------ the page


def to_markdown(cells: Sequence[Mapping[str, Any]], threads: int, jobs: int, seed: int) -> str:
    """The page: conditions, what each cell reached, time and memory."""
    found = {(cell["arch"], cell["method"]): cell for cell in cells if cell["seed"] == seed}
    methods = [m for m in METHODS if any((arch, m) in found for arch in BACKBONES)]
    archs = [arch for arch in BACKBONES if any(a == arch for a, _ in found)]
    total = len(BACKBONES) * len(METHODS)
    done = sum(method != PRETRAINED and "failed" not in cell for (_, method), cell in found.items())
    failed = {key: cell["failed"] for key, cell in found.items() if "failed" in cell}

    def grid(text: Any, columns: Sequence[str]) -> list[str]:
        lines = [f"| | {' | '.join(columns)} |", "|---|" + "---|" * len(columns)]
        for arch in archs:
            row = [text(found[arch, m]) if (arch, m) in found else "–" for m in columns]
            lines.append(f"| `{arch}` | {' | '.join(row)} |")
        return [*lines, ""]

    def reached(cell: Mapping[str, Any]) -> str:
        return "failed" if "failed" in cell else f"{cell['R1']:.1f} / {cell['mAP']:.1f}"

    def milliseconds(cell: Mapping[str, Any]) -> str:
        return "failed" if "failed" in cell else f"{1000 * cell['seconds_per_step']:.0f}"

    def memory(cell: Mapping[str, Any]) -> str:
        return "failed" if "failed" in cell else f"{cell['peak_bytes'] / 2**20:.0f}"

    return (
        "\n".join(
            [
                "# Methods on every kind of backbone",
                "",
                f"Made by `python benchmarks/backbones.py`: {done} of {total} cells ran. A check that every "
                "method trains on every kind of backbone, at toy sizes on rendered images; it ranks neither "
                "methods nor backbones.",
                "",
                f"{IDENTITIES} synthetic people (SYSU-MM01 layout, difficulty medium, seed 0), {EPOCHS} "
                f"epochs of {STEPS} steps (GUR and others with several stages an epoch: their own number), "
                f"16 images of each modality, Adam 1e-4, seed {seed}, {threads} threads, {jobs} "
                f"run{'s' if jobs > 1 else ''} at once. The ViTs start from a short pretraining **with "
                f"labels** of other synthetic people (`sdcl pretrain {PRETRAINING}`), the ResNets from "
                "**random weights**, that is from chance: `sdcl pretrain` makes ViTs. HIL starts there, too, "
                "and not from the end of SDCL's first stage as published.",
                "",
                "| backbone | image | stands for |",
                "|---|---|---|",
                *(
                    f"| `{arch}` | {kind.height} x {kind.width} | {kind.stands_for} |"
                    for arch, kind in BACKBONES.items()
                ),
                "",
                "## All-search R1 / mAP, percent: before, and after each method",
                "",
                *grid(reached, [PRETRAINED, *methods]),
                "## Milliseconds per training step",
                "",
                *grid(milliseconds, methods),
                "## Peak memory of the process, MiB",
                "",
                *grid(memory, methods),
                *(f"- `{arch}`, {method} failed: {reason}" for (arch, method), reason in failed.items()),
                *([""] if failed else []),
            ]
        ).rstrip()
        + "\n"
    )


if __name__ == "__main__":
    sys.exit(main())
