"""Every method, whole and without single parts, on synthetic people at nearly equal steps, over seeds.

    sh benchmarks/methods.sh                        # synthetic-v2; writes docs/methods/reference_table.md
    SET=medium sh benchmarks/methods.sh             # synthetic-v1; writes docs/methods/synthetic_table.md

It renders and prepares the images, and trains all rows, the most telling first. A stopped run continues. The
result of a finished one is kept in a file beside this program and not repeated, so that several machines can
share the work; the table is made of that file and says which runs are missing. A row that differs from
another one in its second stage only goes on from the end of the other one's first stage, if that is in the
folder of the runs; its result is the same.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import common
import records
from methods_page import write_page
from methods_rows import (
    BENCHMARKS,
    CEILING,
    FIRST_STAGE,
    HERE,
    METRICS,
    SAME_FIRST_STAGE,
    SDCL_ROW,
    TABLES,
    Benchmark,
    kept,
    rows_of,
    seeds_wanted,
)

from sdcl import config
from sdcl.models.pretrained import ASSETS
from sdcl.runtime import checkpoint
from sdcl.training.run_state import refuse_differences


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


if __name__ == "__main__":
    sys.exit(main())
