"""Several runs: groups of equal settings, means and deviations over seeds and trials, paired tests, tables for a paper."""

from __future__ import annotations

import csv
import io
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import permutation_test, ttest_rel

from sdcl.datasets import DATASETS
from sdcl.evaluation.tables import COLUMNS
from sdcl.reporting.run_record import Record, number, percent

# What may differ between repetitions of one experiment; a result names its protocol itself. Where a data set lies is replaced by what is in it.
REPEATED = {
    "seed", "trial", "logs_dir", "data_dir", "cache_dir", "workers", "device", "print_freq", "eval_step", "resume", "resume_anyway",
    "allow_incomplete", "checkpoint", "test_batch_size", "trials", "modes", "shots", "draws", "official_draws", "rerank", "report", "wandb",
    "watch", "check_ranks", "profile",
}  # fmt: skip
EXACT_UP_TO = 12  # pairs whose sign flips are all tried
TEX = str.maketrans(
    {"&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}"}
)  # fmt: skip


@dataclass(frozen=True)
class Group:
    """Runs of equal settings. letter: what it is called. about: what tells it from the other groups."""

    letter: str
    about: str
    runs: list[Record]

    @property
    def name(self) -> str:
        return f"{self.letter}: {self.about}" if self.about else self.letter


class Row(NamedTuple):
    """One row of the table: mean and sample deviation over a group's runs; a deviation of one run is NaN."""

    group: Group
    protocol: str
    direction: str
    runs: int
    means: list[float]
    deviations: list[float]


class Paired(NamedTuple):
    """The same seeds and trials in two groups: mean of the differences (second minus first) and two-sided p-values."""

    first: Group
    second: Group
    protocol: str
    direction: str
    metric: str
    pairs: int
    difference: float
    t_test: float
    sign_flip: float


def group_runs(records: Sequence[Record]) -> list[Group]:
    """Groups in the order in which the runs were named."""
    found: dict[str, list[Record]] = {}
    for record in records:
        found.setdefault(repr(sorted(identity_of(record).items())), []).append(record)
    keys = [identity_of(runs[0]) for runs in found.values()]
    different = differing(keys)
    return [
        Group(_letter(i), ", ".join(f"{n}={key.get(n, 'unset')}" for n in different), runs)
        for i, (key, runs) in enumerate(zip(keys, found.values(), strict=True))
    ]


def identity_of(record: Record) -> dict[str, Any]:
    """What makes two runs repetitions of one experiment: settings without `REPEATED`, and the images.

    The trials of RegDB train on different images by design; of them the folder counts.
    """
    kept = {n: v for n, v in record.settings.items() if n not in REPEATED}
    source = DATASETS.get(record.recipe[1])
    has_trials = source is not None and source.trials
    kept["data"] = record.settings.get("data_dir", "") if has_trials else record.environment.get("data", "")
    return kept


def differing(keys: Sequence[dict[str, Any]]) -> list[str]:
    """Names whose value is not the same in all of them."""
    names = dict.fromkeys(name for key in keys for name in key)
    return [n for n in names if any(key.get(n) != keys[0].get(n) for key in keys)]


def summarize(groups: Sequence[Group]) -> list[Row]:
    rows = []
    for group in groups:
        for protocol, direction in headings(group.runs):
            found = [r for r in (_result(run, protocol, direction) for run in group.runs) if r]
            values = np.array([[number(r.get(c)) for c in COLUMNS] for r in found])  # (runs, 6)
            spread = values.std(0, ddof=1) if len(found) > 1 else np.full(len(COLUMNS), math.nan)
            rows.append(Row(group, protocol, direction, len(found), values.mean(0).tolist(), spread.tolist()))
    return rows


def headings(runs: Sequence[Record]) -> list[tuple[str, str]]:
    """(protocol, direction) of every result, each once."""
    return list(dict.fromkeys((str(r["protocol"]), str(r.get("direction", ""))) for run in runs for r in run.results))


def paired_tests(groups: Sequence[Group], metrics: Sequence[str] = ("R1", "mAP", "mINP")) -> list[Paired]:
    """Each further group against the first one, over the seeds and trials that both have once; at least two of them."""
    found = []
    for second in groups[1:]:
        first_runs, second_runs = (_by_repetition(g) for g in (groups[0], second))
        both = sorted(first_runs.keys() & second_runs.keys())
        for protocol, direction in headings(groups[0].runs):
            results = [(_result(first_runs[k], protocol, direction), _result(second_runs[k], protocol, direction)) for k in both]
            for metric in metrics:
                values = np.array([(number(a.get(metric)), number(b.get(metric))) for a, b in results if a and b]).reshape(-1, 2)
                a, b = values[np.isfinite(values).all(1)].T  # (pairs,) each
                if len(a) > 1:
                    found.append(Paired(groups[0], second, protocol, direction, metric, len(a), float((b - a).mean()), *p_values(a, b)))
    return found


def p_values(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """Two-sided p of Student's paired t-test and of the exact sign-flip permutation test (NaN beyond `EXACT_UP_TO` pairs).

    With n pairs the sign-flip test cannot go below 2 / 2^n: three seeds never give less than 0.25.
    """
    if np.ptp(b - a) <= 1e-9 * max(1.0, np.abs(b - a).max()):
        t_test = math.nan  # no deviation to divide by, but that of rounding
    else:
        t_test = float(ttest_rel(b, a).pvalue)
    if len(a) > EXACT_UP_TO:
        return t_test, math.nan
    flips = permutation_test(
        (b, a), lambda x, y, axis: (x - y).mean(axis), permutation_type="samples", vectorized=True, n_resamples=2**EXACT_UP_TO + 1
    )
    return t_test, float(flips.pvalue)


def cell(mean: float, deviation: float, sign: str = "±") -> str:
    return percent(mean) if math.isnan(deviation) else f"{percent(mean)} {sign} {deviation:.2f}"


def markdown(rows: Sequence[Row]) -> str:
    lines = [f"| group | protocol | direction | runs | {' | '.join(COLUMNS)} |", "|---|---|---|---:|" + "---:|" * len(COLUMNS)]
    for r in rows:
        words = [w.replace("|", "\\|") for w in (r.group.name, r.protocol, r.direction)]
        lines.append(f"| {' | '.join(words)} | {r.runs} | {' | '.join(map(cell, r.means, r.deviations))} |")
    return "\n".join(lines) + "\n"


def latex(rows: Sequence[Row]) -> str:
    """Lines of a tabular of eight columns: group and protocol, runs, the six numbers."""
    lines = [f"group, protocol, direction & runs & {' & '.join(COLUMNS)} \\\\"]
    for r in rows:
        name = ", ".join((r.group.name, r.protocol, r.direction)).translate(TEX)
        numbers = [cell(m, d, r"$\pm$") for m, d in zip(r.means, r.deviations)]
        lines.append(f"{name} & {r.runs} & {' & '.join(numbers)} \\\\")
    return "\n".join(lines) + "\n"


def as_csv(rows: Sequence[Row]) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["group", "protocol", "direction", "runs", *COLUMNS, *(f"{c}_std" for c in COLUMNS)])
    for r in rows:
        writer.writerow([r.group.name, r.protocol, r.direction, r.runs, *(f"{v:.4f}" for v in [*r.means, *r.deviations])])
    return file.getvalue()


def _result(run: Record, protocol: str, direction: str) -> dict[str, Any] | None:
    return next((r for r in run.results if str(r["protocol"]) == protocol and str(r.get("direction", "")) == direction), None)


def repeated_seeds(group: Group) -> list[tuple[str, str]]:
    """(trial, seed) that several runs of the group share: they say nothing about how seeds vary, and cannot be paired."""
    return [key for key, count in Counter(map(_repetition, group.runs)).items() if count > 1]


def _by_repetition(group: Group) -> dict[tuple[str, str], Record]:
    twice = repeated_seeds(group)
    return {_repetition(r): r for r in group.runs if _repetition(r) not in twice}


def _repetition(run: Record) -> tuple[str, str]:
    return str(run.settings.get("trial", "")), str(run.settings.get("seed", ""))


def _letter(index: int) -> str:
    return chr(65 + index % 26) + (str(index // 26) if index >= 26 else "")
