"""Every method, and SDCL without each of its parts, on synthetic people at equal steps, over seeds.

    sh benchmarks/methods.sh                        # synthetic-v2; writes docs/methods/reference_table.md
    SET=medium sh benchmarks/methods.sh             # synthetic-v1; writes docs/methods/synthetic_table.md

It renders and prepares the images, and trains all rows, the most telling first. A stopped run continues. The result of a finished one
is kept in a file beside this program and not repeated, so that several machines can share the work; the table is made of that
file and says which runs are missing. A row that differs from another one in its second stage only goes on from the end of the
other one's first stage, if that is in the folder of the runs; its result is the same.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import statistics
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import common
import numpy as np
import records

from sdcl import config
from sdcl.config import METHODS
from sdcl.models.pretrained import ASSETS
from sdcl.reporting.statistics import p_values
from sdcl.runtime import checkpoint
from sdcl.training.run_state import refuse_differences

HERE = Path(__file__).parent
TABLES = HERE.parent / "docs" / "methods"
METRICS = ("R1", "mAP", "mINP")
START, CEILING, SDCL_ROW = (
    "pretrained weights, before training",
    "identities of both modalities (upper bound)",
    "SDCL",
)
SDCL = ["--method", "sdcl", "--shallow"]
FIRST_STAGE = "{SDCL}"  # the run folder of the row "SDCL" with the same seed, which is trained first

# Row -> the row that trains the same until its stage "contrast" ends.
SAME_FIRST_STAGE = {
    "SDCL, no CRA": "SDCL",
    "SDCL, no smoothing": "SDCL",
    "ADCA, no CMA": "ADCA",
    "PGM, no matching": "PGM",
    "DCCL, no neighbours within": "DCCL",
    "DCCL, no neighbours across": "DCCL",
    "DCCL, no instance contrast": "DCCL",
    "DCCL, no cameras": "DCCL",
    "DCCL, no refinement": "DCCL",
    "TAA, no association (reads visible identities)": "TAA (reads visible identities)",
}


@dataclass(frozen=True)
class Benchmark:
    """A synthetic set with settings, pretrained weights and budget.

    Args:
        title: of its page. set_flags: of `sdcl synthesize`, for the reader.
        settings: JSON beside this file that all rows share. weights: in sdcl/assets.
        results: finished runs, beside this file. page: file in docs/methods.
    """

    title: str
    set_flags: str
    settings: str
    weights: str
    results: str
    page: str

    @property
    def values(self) -> dict[str, Any]:
        return json.loads((HERE / self.settings).read_text())

    @property
    def conditions(self) -> str:
        return records.conditions(HERE / self.settings, ASSETS / self.weights)


BENCHMARKS = {
    "reference": Benchmark(
        "Methods on the reference benchmark, synthetic-v2",
        "the reference set (SYSU layout, difficulty clear, seed 0)",
        "reference.json",
        "vit_mini_hybrid_identity.safetensors",
        "reference_results.jsonl",
        "reference_table.md",
    ),
    "medium": Benchmark(
        "Methods on the synthetic benchmark",
        "the medium set of synthetic-v1 (SYSU layout, difficulty medium, seed 0)",
        "methods.json",
        "vit_mini_identity.safetensors",
        "methods_results.jsonl",
        "synthetic_table.md",
    ),
}


def rows_of(values: Mapping[str, Any]) -> dict[str, list[str]]:
    """Row -> its flags, the most telling first.

    Args:
        values: settings that all rows share. All have the same number of optimiser steps, within rounding.
    """
    second, steps = (
        values["unify_from"],
        values["iters"],
    )  # first epoch of the second stage, steps of an epoch
    gur = ["--method", "gur", "--iters", str((steps - 8 * values["camera_iters"]) // 2)]  # 8 pairs of cameras
    # from the second stage on BMIL takes two steps an iteration, and half of the epochs are of each stage
    bmil = ["--method", "bmil", "--joint-from", str(second), "--iters", str(round(steps * 2 / 3))]
    # after the epochs of SDCL's first stage
    hil = ["--method", "hil", "--shallow", "--from-run", FIRST_STAGE]
    hil += ["--epochs", str(values["epochs"] - second), "--identity-from", "1"]
    dccl = ["--method", "dccl", "--interact-from", str(second)]
    refined = [*dccl, "--refine-from", str(second + 1)]
    return {
        START: ["--method", "baseline", "--epochs", "1", "--iters", "1", "--lr", "1e-30"],
        CEILING: ["ceiling", "--shallow"],
        SDCL_ROW: SDCL,
        "baseline": ["--method", "baseline"],
        "SDCL, no CRA": [*SDCL, "--no-cra"],
        "ADCA": ["--method", "adca"],
        "GUR": gur,
        "SDCL, no CNL cross": [*SDCL, "--no-cnl-cross"],
        "SDCL, no CNL intra": [*SDCL, "--no-cnl-intra"],
        "SDCL, no CNL": [*SDCL, "--no-cnl"],
        "SDCL, no shallow branch": ["--method", "sdcl"],
        "SDCL, no smoothing": [*SDCL, "--no-smoothing"],
        "ADCA, no CMA": ["--method", "adca", "--no-cma"],
        "PGM": ["--method", "pgm", "--match-from", str(second)],
        "BMIL": bmil,
        "HIL": hil,
        "DCCL": refined,
        "TAA (reads visible identities)": ["--method", "taa", "--associate-from", str(second)],
        "PGM, no matching": ["--method", "pgm", "--no-matching"],
        "BMIL, no common clusters": ["--method", "bmil", "--no-joint"],
        "BMIL, no halves": [*bmil, "--no-visible-halves"],
        "BMIL, no margin": [*bmil, "--margin", "0"],
        "HIL, one centre": [*hil, "--centres", "1"],
        "HIL, no identity contrast": [*hil, "--identity-weight", "0", "--identity-weight-late", "0"],
        "HIL, no neighbours": [*hil, "--neighbor-weight", "0"],
        "DCCL, no neighbours within": [*refined, "--no-homogeneous"],
        "DCCL, no neighbours across": [*refined, "--no-heterogeneous"],
        "DCCL, no instance contrast": [*refined, "--no-instance"],
        "DCCL, no cameras": [*refined, "--no-camera"],
        "DCCL, no refinement": [*dccl, "--no-refinement"],
        "TAA, no association (reads visible identities)": ["--method", "taa", "--no-associate"],
        "GUR, no CAE": [*gur, "--no-cae"],
        "GUR, no CMLU": [*gur, "--no-propagation"],
        "GUR, no vote": [*gur, "--no-structure"],
        "GUR, no stages of cameras": ["--method", "gur", "--no-intra-camera", "--iters", str(steps // 2)],
        "GUR, no stage of each modality": [*gur, "--no-inter-camera"],
        "GUR, no stage of both": [*gur, "--no-inter-modality"],
        "SDCL, joint clustering": [*SDCL, "--joint"],
        "GUR, joint clustering": [*gur, "--joint"],
        "SDCL, float32": [*SDCL, "--precision", "fp32"],
        "ADCA, float32": ["--method", "adca", "--precision", "fp32"],
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
    add("--benchmark", choices=BENCHMARKS, default="reference")
    add(
        "--seeds",
        type=int,
        default=3,
        help="of the methods, and of SDCL without a part; others one, but in --rows",
    )
    add("--jobs", type=int, default=2, help="runs at once; they share the CPU cores")
    add("--device", default="auto", help="of the training: auto, cpu, cuda or cuda:N")
    add(
        "--rows",
        nargs="+",
        metavar="ROW",
        help="train only these rows, with all seeds; the table shows all finished runs",
    )
    add("--results", type=Path, help="finished runs; default: the benchmark's file beside this program")
    add("--out", type=Path, help="default: the page of the benchmark in docs/methods")
    args = parser.parse_args()
    benchmark = BENCHMARKS[args.benchmark]
    rows = rows_of(benchmark.values)
    unknown = set(args.rows or ()) - set(rows)
    if unknown:
        parser.error(f"no row {', '.join(sorted(unknown))}; there are: {'; '.join(rows)}")
    results, out = args.results or HERE / benchmark.results, args.out or TABLES / benchmark.page
    wanted = {
        row: args.seeds if args.rows else seeds_wanted(row, rows, args.seeds) for row in args.rows or rows
    }
    tasks = [(row, seed) for seed in range(1, args.seeds + 1) for row in wanted if seed <= wanted[row]]
    threads = max(1, (os.cpu_count() or 1) // args.jobs)
    runs: dict[tuple[str, int], Future[None]] = {}

    def run(row: str, seed: int) -> None:
        if kept(benchmark, results, row, seed):
            return
        source = (SDCL_ROW, seed)
        if FIRST_STAGE in rows[row]:
            if source in runs:
                runs[source].result()
            train(benchmark, args.work, *source, threads, args.device)  # does nothing if it stands there
        result = train(benchmark, args.work, row, seed, threads, args.device)
        records.add(results, {"row": row, "seed": seed, **result, "threads": threads})
        write_page(benchmark, results, args.seeds, out)

    with ThreadPoolExecutor(args.jobs) as pool:
        for task in tasks:
            runs[task] = pool.submit(run, *task)
        for task in tasks:
            runs[task].result()
    write_page(benchmark, results, args.seeds, out)
    print(out.read_text(encoding="utf-8"))
    return 0


NOTES = """
- The last column is the difference of mAP to SDCL's, and below a method that of the row without a part to the method's, over
  the seeds that both have, with p of Student's paired t-test.
- Parts of other methods than SDCL, joint clustering and float32 ask for one seed; `--rows` runs more. Seeds differ by 1 to 2 mAP:
  less than 3 in one seed is no effect.
- BMIL takes two steps an iteration in its second stage, and fewer iterations, so that its steps are as many. HIL's
  epochs follow those of SDCL's first stage with the same seed. GUR without one of its stages takes the steps of the others only, but
  without those of cameras as many as GUR.
- The upper bound reads the identities of both modalities (`benchmarks/ceiling.py`).
- TAA is semi-supervised: visible identities.
"""


def notes() -> str:
    """What a reader of the table must know of its rows: budgets, and the status of methods."""
    status = {name: getattr(METHODS[name], "status", "") for name in METHODS}
    return NOTES + "".join(f"- `{name}`: {text}.\n" for name, text in status.items() if text)


def run_folder(benchmark: Benchmark, work: Path, row: str, seed: int) -> Path:
    name = row.partition(" (")[0].replace(", ", "_").replace(" ", "_")
    return work / f"runs_{Path(benchmark.weights).stem}" / f"{name}_{seed}"


def flags_of(benchmark: Benchmark, work: Path, row: str, seed: int, device: str = "auto") -> list[str]:
    """The flags of `sdcl train` for one run of a row."""
    folder, own = run_folder(benchmark, work, row, seed), rows_of(benchmark.values)[row]
    flags = ["-d", "sysu", "--data-dir", work / "data", "--cache-dir", work / "cache", "--logs-dir", folder]
    start = [] if FIRST_STAGE in own else ["--pretrained", ASSETS / benchmark.weights]
    own = own[1:] if row == CEILING else own
    start += ["--resume-anyway"] if row in SAME_FIRST_STAGE else []
    flags += ["--config", HERE / benchmark.settings, *start, "--device", device, "--seed", seed, *own]
    source = run_folder(benchmark, work, SDCL_ROW, seed)
    return [str(flag).replace(FIRST_STAGE, str(source)) for flag in flags]


def kept(benchmark: Benchmark, results: Path, row: str, seed: int) -> records.Run | None:
    """The result of a finished run."""
    own = rows_of(benchmark.values)[row]
    return records.find(records.read(results), row, seed, own, benchmark.conditions)


def train(benchmark: Benchmark, work: Path, row: str, seed: int, threads: int, device: str) -> records.Run:
    """Train one row with one seed, or read its finished run."""
    folder = run_folder(benchmark, work, row, seed)
    program = "ceiling" if row == CEILING else "train"
    flags = flags_of(benchmark, work, row, seed, device)
    if row in SAME_FIRST_STAGE:
        copy_first_stage(flags_of(benchmark, work, SAME_FIRST_STAGE[row], seed, device), folder)
    common.measured_run([program, *flags], folder / "output.txt", threads)
    result = records.described(folder, common.all_search(folder, METRICS))
    print(f"{row}, seed {seed}: R1 {result['R1']:.2f}, mAP {result['mAP']:.2f}", flush=True)
    return {"flags": rows_of(benchmark.values)[row], "conditions": benchmark.conditions, **result}


def copy_first_stage(source: Sequence[str], folder: Path) -> None:
    """Let a run that has not begun go on from the end of another one's first stage, if that is there.

    Args:
        source: flags of the other run. folder: of the run that goes on; it needs --resume-anyway, since its
            settings differ.

    Raises:
        CheckpointError: the other run was made with other flags.
    """
    settings, _, _ = config.parse(list(source), "", "")
    ended = settings.run_dir / "stage_contrast.pt"
    if (folder / checkpoint.LAST).exists() or not ended.is_file():
        return
    state = checkpoint.load(ended)
    refuse_differences(state, settings, state["data"])
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(ended, folder / checkpoint.LAST)


def write_page(benchmark: Benchmark, results: Path, seeds: int, out: Path) -> None:
    """Write the table of all finished runs, and say which are missing."""
    table: dict[str, dict[int, records.Run]] = {}
    missing: dict[str, list[str]] = {}
    rows = list(rows_of(benchmark.values))
    # a method's parts below it, the upper bound last
    for row in sorted(rows, key=lambda row: (row == CEILING, rows.index(method_of(row, rows)))):
        for seed in range(1, seeds + 1):
            run = kept(benchmark, results, row, seed)
            if run:
                table.setdefault(row, {})[seed] = run
            elif seed <= seeds_wanted(row, rows, seeds):
                missing.setdefault(row, []).append(str(seed))
    page = introduction(benchmark) + to_markdown(table) + notes() + made_with(table)
    if missing:
        page += f"- Not run yet: {'; '.join(seeds_of(*item) for item in missing.items())}.\n"
    out.write_text(page, encoding="utf-8")


def method_of(row: str, rows: Iterable[str]) -> str:
    """The row of the whole method that a row is a part or a form of; a row of its own is its own."""
    method = row.partition(", ")[0]
    return next((other for other in rows if other.partition(" (")[0] == method), row)


def seeds_wanted(row: str, rows: Iterable[str], seeds: int) -> int:
    """How many seeds a row asks for: one for a form of a method, but for SDCL without a part."""
    is_form = method_of(row, rows) != row and not row.startswith(f"{SDCL_ROW}, no ")
    return 1 if is_form else seeds


def seeds_of(row: str, seeds: Sequence[str]) -> str:
    """A row of the table with its seeds, for a list of rows."""
    return f"{row} (seed{'s' if len(seeds) > 1 else ''} {', '.join(seeds)})"


def made_with(table: Mapping[str, Mapping[int, records.Run]]) -> str:
    """Which code and machines the runs of a table are of, and what is noted of single runs."""
    runs = [run for seeds in table.values() for run in seeds.values()]
    commits = Counter(str(run.get("commit", "?")) for run in runs)
    devices = sorted({f"{run.get('device', '?')} with torch {run.get('torch', '?')}" for run in runs})
    counts = ", ".join(f"{commit} ({number})" for commit, number in commits.most_common())
    lines = [f"- Runs by commit of the code: {counts}; on {'; '.join(devices)}.\n"] if runs else []
    for note in sorted({run["note"] for run in runs if "note" in run}):
        of = {
            row: [str(s) for s, run in seeds.items() if run.get("note") == note]
            for row, seeds in table.items()
        }
        lines.append(f"- {'; '.join(seeds_of(*item) for item in of.items() if item[1])}: {note}.\n")
    return "".join(lines)


def to_markdown(results: Mapping[str, Mapping[int, Mapping[str, float]]]) -> str:
    """A table with mean and standard deviation over the seeds of each row: row -> seed -> metric -> percent."""
    lines = [
        f"| | seeds | {' | '.join(METRICS)} | mAP against SDCL, or a part's method |",
        "|---|---|" + "---|" * (len(METRICS) + 1),
    ]
    for row, seeds in results.items():
        runs = list(seeds.values())
        cells = [mean_and_deviation([run.get(metric, math.nan) for run in runs]) for metric in METRICS]
        method = method_of(row, results)
        other = SDCL_ROW if method == row else method
        cells.append(against(seeds, results.get(other, {})) if row != SDCL_ROW else "")
        lines.append(f"| {row} | {len(seeds)} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def mean_and_deviation(values: Sequence[float]) -> str:
    """Of one seed the value alone; "–" if it is not known of every seed."""
    if any(map(math.isnan, values)):
        return "–"
    mean = f"{statistics.mean(values):.1f}"
    return f"{mean} ± {statistics.stdev(values):.1f}" if len(values) > 1 else mean


def against(row: Mapping[int, Mapping[str, float]], other: Mapping[int, Mapping[str, float]]) -> str:
    """Mean difference of mAP to another row over the seeds that both have, and p of the paired t-test."""
    both = sorted(row.keys() & other.keys())
    if not both:
        return "~"
    theirs, ours = (np.array([runs[seed]["mAP"] for seed in both]) for runs in (other, row))
    difference = f"{(ours - theirs).mean():+.1f}"
    return f"{difference}, one seed" if len(both) == 1 else f"{difference}, p {p_values(theirs, ours)[0]:.2g}"


def introduction(benchmark: Benchmark) -> str:
    """Title and conditions of the table."""
    values = benchmark.values
    flags = "" if benchmark is BENCHMARKS["reference"] else "SET=medium "
    return (
        f"# {benchmark.title}\n\n"
        f"Made by `{flags}sh benchmarks/methods.sh`: {benchmark.set_flags}, "
        f"`{values['arch']}` from `{benchmark.weights}`, {values['epochs']} epochs of {values['iters']} steps in every "
        f"row, Adam {values['lr']}, settings in `benchmarks/{benchmark.settings}`. All search, single-shot, ten draws, "
        f"last epoch; percent, mean and standard deviation over the seeds. {values['precision']}, but in rows that say "
        "float32. Rendered images, not SYSU-MM01.\n\n"
    )


if __name__ == "__main__":
    sys.exit(main())
