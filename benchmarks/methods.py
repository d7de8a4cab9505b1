"""Every method, and SDCL without each of its parts, on the medium synthetic set at equal steps, over seeds.

    sh benchmarks/methods.sh                     # writes docs/methods/synthetic_table.md
    sh benchmarks/methods.sh --weight tracks     # from stronger pretrained weights: synthetic_table_tracks.md

It renders and prepares the images, and trains all rows.
A finished run is not repeated, a stopped one continues.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import common

from sdcl.config import METHODS
from sdcl.models.pretrained import ASSETS

HERE = Path(__file__).parent
SETTINGS = HERE / "methods.json"
TABLES = HERE.parent / "docs" / "methods"
WEIGHTS = {"identity": "vit_mini_identity.safetensors", "tracks": "vit_mini.safetensors"}
STEPS = 40  # per epoch, in every row
METRICS = ("R1", "mAP", "mINP")
SDCL = ["--method", "sdcl", "--shallow"]
FIRST_STAGE = "{SDCL}"  # the run folder of the row "SDCL" with the same seed, which is trained first
ROWS = {
    "pretrained weights": ["--method", "baseline", "--epochs", "1", "--iters", "1", "--lr", "1e-30"],
    "baseline": ["--method", "baseline"],
    "ADCA": ["--method", "adca"],
    "GUR": ["--method", "gur", "--iters", "12"],  # 8 pairs of cameras x 2 + 12 + 12 = 40 steps
    "SDCL": SDCL,
    "PGM": ["--method", "pgm", "--match-from", "3"],
    # from the second stage on BMIL takes two steps an iteration: 3 x 27 + 3 x 2 x 27 = 243 steps
    "BMIL": ["--method", "bmil", "--joint-from", "3", "--iters", "27"],
    # after the three epochs of SDCL's first stage
    "HIL": [
        "--method",
        "hil",
        "--shallow",
        "--from-run",
        FIRST_STAGE,
        "--epochs",
        "3",
        "--identity-from",
        "1",
    ],
    "DCCL": ["--method", "dccl", "--interact-from", "3", "--refine-from", "4"],
    "TAA (reads visible identities)": ["--method", "taa", "--associate-from", "3"],
    "SDCL, joint clustering": [*SDCL, "--joint"],
    "GUR, joint clustering": ["--method", "gur", "--iters", "12", "--joint"],
    "SDCL, float32": [*SDCL, "--precision", "fp32"],
    "ADCA, float32": ["--method", "adca", "--precision", "fp32"],
    "SDCL, no shallow branch": ["--method", "sdcl"],
    "SDCL, no CNL intra": [*SDCL, "--no-cnl-intra"],
    "SDCL, no CNL cross": [*SDCL, "--no-cnl-cross"],
    "SDCL, no CRA": [*SDCL, "--no-cra"],
    "SDCL, no smoothing": [*SDCL, "--no-smoothing"],
}


def main() -> int:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    add = parser.add_argument
    add(
        "--work",
        type=Path,
        default=Path("logs/methods"),
        help="folder with the images in data/, and of the runs",
    )
    add("--seeds", type=int, default=3)
    add("--ablation-seeds", type=int, default=3, help="seeds of the rows that lack a part of SDCL")
    add("--jobs", type=int, default=2, help="runs at once; they share the CPU cores")
    add(
        "--weight",
        choices=WEIGHTS,
        default="identity",
        help="pretrained weights; identity leaves more to gain",
    )
    add(
        "--rows",
        nargs="+",
        choices=ROWS,
        default=list(ROWS),
        metavar="ROW",
        help="only these rows of the table",
    )
    add("--out", type=Path, help="default: docs/methods/synthetic_table.md, or synthetic_table_tracks.md")
    args = parser.parse_args()
    name = "synthetic_table.md" if args.weight == "identity" else f"synthetic_table_{args.weight}.md"
    out, weights = args.out or TABLES / name, ASSETS / WEIGHTS[args.weight]
    tasks = [
        (row, seed)
        for seed in range(1, args.seeds + 1)
        for row in args.rows
        if seed <= args.ablation_seeds or "," not in row
    ]
    threads = max(1, (os.cpu_count() or 1) // args.jobs)
    runs: dict[tuple[str, int], Future[dict[str, float]]] = {}

    def run(row: str, seed: int) -> dict[str, float]:
        if FIRST_STAGE in ROWS[row]:
            source = ("SDCL", seed)
            _ = runs[source].result() if source in runs else train(args.work, weights, *source, threads)
        return train(args.work, weights, row, seed, threads)

    with ThreadPoolExecutor(args.jobs) as pool:
        for task in tasks:
            runs[task] = pool.submit(run, *task)
        metrics = [runs[task].result() for task in tasks]
    by_row: dict[str, list[dict[str, float]]] = {row: [] for row in args.rows}
    for (row, _), values in zip(tasks, metrics, strict=True):
        by_row[row].append(values)
    table = to_markdown(by_row)
    print(table)
    out.write_text(introduction(weights) + table + notes(), encoding="utf-8")
    return 0


NOTES = """
- BMIL takes two steps an iteration in its second stage: 27 iterations an epoch, 243 steps in all. HIL's three epochs
  follow the three of SDCL's first stage with the same seed.
- TAA is semi-supervised: visible identities.
"""


def notes() -> str:
    """What a reader of the table must know of its rows: budgets, and the status of methods."""
    status = {name: getattr(METHODS[name], "status", "") for name in METHODS}
    return NOTES + "".join(f"- `{name}`: {text}.\n" for name, text in status.items() if text)


def run_folder(work: Path, weights: Path, row: str, seed: int) -> Path:
    return work / f"runs_{weights.stem}" / f"{row.replace(', ', '_').replace(' ', '_')}_{seed}"


def flags_of(work: Path, weights: Path, row: str, seed: int) -> list[str]:
    """The flags of `sdcl train` for one run of a row."""
    folder = run_folder(work, weights, row, seed)
    flags = ["-d", "sysu", "--data-dir", work / "data", "--cache-dir", work / "cache", "--logs-dir", folder]
    start = [] if FIRST_STAGE in ROWS[row] else ["--pretrained", weights]
    flags += ["--config", SETTINGS, *start, "--device", "cpu", "--seed", seed, *ROWS[row]]
    return [str(flag).replace(FIRST_STAGE, str(run_folder(work, weights, "SDCL", seed))) for flag in flags]


def train(work: Path, weights: Path, row: str, seed: int, threads: int) -> dict[str, float]:
    """Train one row with one seed. Returns the all-search metrics after the last epoch."""
    folder = run_folder(work, weights, row, seed)
    common.measured_run(["train", *flags_of(work, weights, row, seed)], folder / "output.txt", threads)
    result = common.all_search(folder, METRICS)
    print(f"{row}, seed {seed}: R1 {result['R1']:.2f}, mAP {result['mAP']:.2f}", flush=True)
    return result


def to_markdown(results: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    """A table with mean and standard deviation over the seeds of each row."""
    lines = [f"| | seeds | {' | '.join(METRICS)} |", "|---|---|" + "---|" * len(METRICS)]
    for row, seeds in results.items():
        cells = []
        for metric in METRICS:
            values = [seed[metric] for seed in seeds]
            mean = f"{statistics.mean(values):.1f}"
            cells.append(f"{mean} ± {statistics.stdev(values):.1f}" if len(values) > 1 else mean)
        lines.append(f"| {row} | {len(seeds)} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def introduction(weights: Path) -> str:
    """Title and conditions of the table."""
    settings = json.loads(SETTINGS.read_text())
    flags = "" if weights.name == WEIGHTS["identity"] else " --weight tracks"
    return (
        "# Methods on the synthetic benchmark\n\n"
        f"Made by `sh benchmarks/methods.sh{flags}`: the medium set (SYSU layout, difficulty medium, seed 0), "
        f"`vit_mini` from `{weights.name}`, {settings['epochs']} epochs of {STEPS} steps in every row, Adam "
        f"{settings['lr']}, settings in `benchmarks/methods.json`. All search, single-shot, ten draws, last epoch; "
        f"percent, mean and standard deviation over the seeds. {settings['precision']}, but in rows that say "
        "float32. Rendered images, not SYSU-MM01.\n\n"
    )


if __name__ == "__main__":
    sys.exit(main())
