"""The page of the methods' table: means over the seeds, paired differences, and what is missing."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import records
from methods_rows import (
    BENCHMARKS,
    CEILING,
    METRICS,
    SDCL_ROW,
    Benchmark,
    kept,
    method_of,
    rows_of,
    seeds_wanted,
)

from sdcl.config import METHODS
from sdcl.reporting.statistics import p_values

NOTES = """
- The last column is the difference of mAP to SDCL's, and below a method that of the row without a part to the method's, over
  the seeds that both have, with p of Student's paired t-test.
- Parts of other methods than SDCL, joint clustering and float32 ask for one seed; `--rows` runs more. Seeds differ by 1 to 2 mAP:
  less than 3 in one seed is no effect.
- BMIL takes two steps an iteration in its second stage, and fewer iterations, so that its steps are as many. HIL's
  epochs follow those of SDCL's first stage with the same seed. GUR takes fewer steps once its stage of both modalities has ended
  (`inter_modality_until` of the settings), and fewer still without one of its stages; only without those of cameras the other stages
  take more, so that the sum is about GUR's.
- The upper bound reads the identities of both modalities (`benchmarks/ceiling.py`).
- TAA is semi-supervised: visible identities.
"""  # noqa: E501


def notes() -> str:
    """What a reader of the table must know of its rows: budgets, and the status of methods."""
    status = {name: getattr(METHODS[name], "status", "") for name in METHODS}
    return NOTES + "".join(f"- `{name}`: {text}.\n" for name, text in status.items() if text)


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
    """A table with mean and standard deviation over the seeds of each row:
    row -> seed -> metric -> percent.
    """
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
    """Mean difference of mAP to another row over the seeds that both have, and p of the paired t-test, which
    is unknown ("–") if all differences are equal.
    """
    both = sorted(row.keys() & other.keys())
    if not both:
        return "~"
    theirs, ours = (np.array([runs[seed]["mAP"] for seed in both]) for runs in (other, row))
    difference = f"{(ours - theirs).mean():+.1f}"
    if len(both) == 1:
        return f"{difference}, one seed"
    p = p_values(theirs, ours)[0]
    return f"{difference}, p {'–' if math.isnan(p) else f'{p:.2g}'}"


def introduction(benchmark: Benchmark) -> str:
    """Title and conditions of the table."""
    values = benchmark.values
    flags = "" if benchmark is BENCHMARKS["reference"] else "SET=medium "
    return (
        f"# {benchmark.title}\n\n"
        f"Made by `{flags}sh benchmarks/methods.sh`: {benchmark.set_flags}, "
        f"`{values['arch']}` from `{benchmark.weights}`, {values['epochs']} epochs of {values['iters']} "
        f"steps in every row but GUR's, Adam {values['lr']}, settings in `benchmarks/{benchmark.settings}`. "
        "All search, single-shot, ten draws, last epoch; percent, mean and standard deviation over the "
        f"seeds. {values['precision']}, but in rows that say float32. Rendered images, not SYSU-MM01.\n\n"
    )
