"""Every method, and SDCL with each of its parts off, on the medium synthetic set at an equal budget of optimiser steps, over seeds.

    sh benchmarks/methods.sh                     # renders, prepares, trains 3 seeds of every row, writes docs/METHODS_TABLE.md
    sh benchmarks/methods.sh --weight tracks     # the same from the stronger starting weight: docs/METHODS_TABLE_TRACKS.md

A run that is complete is not repeated, one that was stopped goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sdcl.models.pretrained import ASSETS

HERE = Path(__file__).parent
SETTINGS = HERE / "methods.json"
WEIGHTS = {"identity": "vit_mini_identity.safetensors", "tracks": "vit_mini.safetensors"}
STEPS = 40  # an epoch, in every row
GUR = ["--method", "gur", "--iters", "12"]  # 8 pairs of cameras x 2 + 12 + 12 = 40
ROWS = {
    "starting weight": ["--method", "baseline", "--epochs", "1", "--iters", "1", "--lr", "1e-30"],
    "baseline": ["--method", "baseline"],
    "ADCA": ["--method", "adca"],
    "GUR": GUR,
    "SDCL": ["--method", "sdcl", "--shallow"],
    "SDCL, no shallow branch": ["--method", "sdcl", "--no-shallow"],
    "SDCL, no CNL intra": ["--method", "sdcl", "--shallow", "--no-cnl-intra"],
    "SDCL, no CNL cross": ["--method", "sdcl", "--shallow", "--no-cnl-cross"],
    "SDCL, no CRA": ["--method", "sdcl", "--shallow", "--no-cra"],
    "SDCL, no smoothing": ["--method", "sdcl", "--shallow", "--no-smoothing"],
}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--work", type=Path, default=Path("logs/methods"), help="folder with data/, where the runs go"
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--ablation-seeds", type=int, default=3, help="of the rows of SDCL with a part off")
    parser.add_argument("--jobs", type=int, default=2, help="runs at once; each takes its share of the cores")
    parser.add_argument(
        "--weight",
        choices=WEIGHTS,
        default="identity",
        help="which starting weight of the package: the weaker one leaves more to gain",
    )
    parser.add_argument(
        "--rows",
        nargs="+",
        choices=ROWS,
        default=list(ROWS),
        metavar="ROW",
        help="only these rows of the table",
    )
    parser.add_argument(
        "--out",
        type=Path,
        help="default: docs/METHODS_TABLE.md, with --weight tracks docs/METHODS_TABLE_TRACKS.md",
    )
    own = parser.parse_args()
    name = "METHODS_TABLE.md" if own.weight == "identity" else "METHODS_TABLE_TRACKS.md"
    out, weight = own.out or HERE.parent / "docs" / name, ASSETS / WEIGHTS[own.weight]
    tasks = [
        (r, s) for s in range(1, own.seeds + 1) for r in own.rows if s <= own.ablation_seeds or "," not in r
    ]
    threads = max(1, (os.cpu_count() or 1) // own.jobs)
    with ThreadPoolExecutor(own.jobs) as pool:
        found = dict(zip(tasks, pool.map(lambda task: run(own.work, weight, *task, threads), tasks)))
    table = to_markdown({row: [result for (r, _), result in found.items() if r == row] for row in own.rows})
    print(table)
    out.write_text(preamble(weight) + table, encoding="utf-8")
    return 0


def run(work: Path, weight: Path, row: str, seed: int, threads: int) -> dict[str, float]:
    """Train one row with one seed. Returns the all-search metrics after the last epoch."""
    folder = work / f"runs_{weight.stem}" / f"{row.replace(', ', '_').replace(' ', '_')}_{seed}"
    command = [
        sys.executable,
        "-m",
        "sdcl.train",
        "-d",
        "sysu",
        "--data-dir",
        str(work / "data"),
        "--cache-dir",
        str(work / "cache"),
    ]
    command += [
        "--logs-dir",
        str(folder),
        "--config",
        str(SETTINGS),
        "--pretrained",
        str(weight),
        "--device",
        "cpu",
        "--seed",
        str(seed),
        "--no-shallow",
        *ROWS[row],
    ]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "output.txt").open("w") as output:
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, check=True, env=environment)
    last = json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])
    result = next(r for r in last["test"] if "all-search" in r["protocol"])
    print(f"{row}, seed {seed}: R1 {result['R1']:.2f}, mAP {result['mAP']:.2f}", flush=True)
    return {m: result[m] for m in ("R1", "mAP", "mINP")}


def to_markdown(results: dict[str, list[dict[str, float]]]) -> str:
    """Mean and standard deviation over the seeds, a row each."""
    lines = ["| | seeds | R1 | mAP | mINP |", "|---|---|---|---|---|"]
    for row, seeds in results.items():
        cells = [
            f"{statistics.mean(v):.1f} ± {statistics.stdev(v):.1f}" if len(v) > 1 else f"{v[0]:.1f}"
            for v in zip(*(s.values() for s in seeds))
        ]
        lines.append(f"| {row} | {len(seeds)} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def preamble(weight: Path) -> str:
    own = json.loads(SETTINGS.read_text())
    flags = "" if weight.name == WEIGHTS["identity"] else " --weight tracks"
    return (
        "# Methods on the synthetic benchmark\n\n"
        f"Made by `sh benchmarks/methods.sh{flags}`: the medium set (SYSU layout, difficulty medium, seed 0), `vit_mini` from `{weight.name}`, "
        f"{own['epochs']} epochs of {STEPS} steps in every row, Adam {own['lr']}, settings in `benchmarks/methods.json`. All search, single-shot, ten "
        f"draws, last epoch; percent, mean and standard deviation over the seeds. Numbers of a renderer, not of SYSU-MM01.\n\n"
    )


if __name__ == "__main__":
    sys.exit(main())
