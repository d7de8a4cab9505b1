"""Statistics of several runs: groups of equal settings, means and deviations over seeds and trials, paired
tests, tables.
"""

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

from sdcl.config.settings import repetition_names
from sdcl.datasets import source_of
from sdcl.evaluation.tables import COLUMNS
from sdcl.reporting.run_record import Record, as_number, percent
from sdcl.runtime.errors import DataError

EXACT_UP_TO = 12  # pairs; beyond, trying all sign flips takes too long
TEX_ESCAPES = str.maketrans(
    {char: f"\\{char}" for char in "&%$#_{}"}
    | {"~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}"}
)


@dataclass(frozen=True)
class Group:
    """Repetitions of one experiment. letter: name of the group. about: the settings in which the groups
    differ.
    """

    letter: str
    about: str
    runs: list[Record]

    @property
    def name(self) -> str:
        return f"{self.letter}: {self.about}" if self.about else self.letter


class Summary(NamedTuple):
    """One row of the results: mean and sample standard deviation over the runs of a group (NaN for one
    run).
    """

    group: Group
    protocol: str
    direction: str
    runs: int
    means: list[float]
    deviations: list[float]


class PairedTest(NamedTuple):
    """Runs of equal seed and trial in two groups: mean difference (second minus first) and two-sided
    p-values.
    """

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
    """Groups of runs that repeat one experiment, in the order of their first runs."""
    by_experiment: dict[str, list[Record]] = {}
    for record in records:
        by_experiment.setdefault(repr(sorted(experiment_of(record).items())), []).append(record)
    experiments = [experiment_of(runs[0]) for runs in by_experiment.values()]
    names = differing(experiments)
    return [
        Group(_letter(i), ", ".join(f"{name}={experiment.get(name, 'unset')}" for name in names), runs)
        for i, (experiment, runs) in enumerate(zip(experiments, by_experiment.values(), strict=True))
    ]


def experiment_of(record: Record) -> dict[str, Any]:
    """Settings and images that two runs must share to be repetitions of one experiment.

    The images count by their fingerprint ("data"). Trials of a data set train on different images by design,
    so the folder counts there.
    """
    ignored = repetition_names()
    experiment = {name: value for name, value in record.settings.items() if name not in ignored}
    experiment["data"] = (
        record.settings.get("data_dir", "")
        if has_trials(record.recipe[1])
        else record.environment.get("data", "")
    )
    return experiment


def has_trials(dataset: str) -> bool:
    """Whether a data set is split anew for each trial."""
    try:
        return len(source_of(dataset).trials) > 1
    except DataError:  # of a plug-in or a newer version
        return False


def differing(mappings: Sequence[dict[str, Any]]) -> list[str]:
    """Names whose value is not the same in all mappings."""
    names = dict.fromkeys(name for mapping in mappings for name in mapping)
    return [n for n in names if any(mapping.get(n) != mappings[0].get(n) for mapping in mappings)]


def summarize(groups: Sequence[Group]) -> list[Summary]:
    """Mean and deviation of each group in each protocol and direction."""
    summaries = []
    for group in groups:
        for protocol, direction in headings(group.runs):
            results = [r for r in (find_result(run, protocol, direction) for run in group.runs) if r]
            values = np.array([[as_number(r.get(c)) for c in COLUMNS] for r in results])  # (runs, 6)
            deviation = values.std(0, ddof=1) if len(results) > 1 else np.full(len(COLUMNS), math.nan)
            summaries.append(
                Summary(group, protocol, direction, len(results), values.mean(0).tolist(), deviation.tolist())
            )
    return summaries


def headings(runs: Sequence[Record]) -> list[tuple[str, str]]:
    """(protocol, direction) of every result, each once."""
    return list(
        dict.fromkeys((str(r["protocol"]), str(r.get("direction", ""))) for run in runs for r in run.results)
    )


def paired_tests(groups: Sequence[Group], metrics: Sequence[str] = ("R1", "mAP", "mINP")) -> list[PairedTest]:
    """Each further group against the first, over the seeds and trials that occur once in both; at least
    two of them.
    """
    tests = []
    for second in groups[1:]:
        first_runs, second_runs = (_by_repetition(g) for g in (groups[0], second))
        shared = sorted(first_runs.keys() & second_runs.keys())
        for protocol, direction in headings(groups[0].runs):
            pairs = [
                (
                    find_result(first_runs[k], protocol, direction),
                    find_result(second_runs[k], protocol, direction),
                )
                for k in shared
            ]
            for metric in metrics:
                values = np.array(
                    [(as_number(a.get(metric)), as_number(b.get(metric))) for a, b in pairs if a and b]
                ).reshape(-1, 2)
                a, b = values[np.isfinite(values).all(1)].T  # (pairs,) each
                if len(a) > 1:
                    difference = float((b - a).mean())
                    tests.append(
                        PairedTest(
                            groups[0],
                            second,
                            protocol,
                            direction,
                            metric,
                            len(a),
                            difference,
                            *p_values(a, b),
                        )
                    )
    return tests


def p_values(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """Two-sided p of Student's paired t-test and of the exact sign-flip permutation test (NaN beyond
    `EXACT_UP_TO` pairs).

    With n pairs the sign-flip test cannot go below 2 / 2^n: three seeds never give less than 0.25.
    """
    if np.ptp(b - a) <= 1e-9 * max(1.0, np.abs(b - a).max()):
        t_test = math.nan  # no deviation to divide by, but that of rounding
    else:
        t_test = float(ttest_rel(b, a).pvalue)
    if len(a) > EXACT_UP_TO:
        return t_test, math.nan
    flips = permutation_test(
        (b, a),
        lambda x, y, axis: (x - y).mean(axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=2**EXACT_UP_TO + 1,
    )
    return t_test, float(flips.pvalue)


def cell(mean: float, deviation: float, sign: str = "±") -> str:
    """ "mean ± deviation" with two digits; the mean alone if there is no deviation."""
    return percent(mean) if math.isnan(deviation) else f"{percent(mean)} {sign} {deviation:.2f}"


def markdown_table(summaries: Sequence[Summary]) -> str:
    lines = [
        f"| group | protocol | direction | runs | {' | '.join(COLUMNS)} |",
        "|---|---|---|---:|" + "---:|" * len(COLUMNS),
    ]
    for s in summaries:
        names = [name.replace("|", "\\|") for name in (s.group.name, s.protocol, s.direction)]
        lines.append(f"| {' | '.join(names)} | {s.runs} | {' | '.join(map(cell, s.means, s.deviations))} |")
    return "\n".join(lines) + "\n"


def latex_table(summaries: Sequence[Summary]) -> str:
    """Lines of a tabular of eight columns: group and protocol, runs, the six numbers."""
    lines = [f"group, protocol, direction & runs & {' & '.join(COLUMNS)} \\\\"]
    for s in summaries:
        name = ", ".join((s.group.name, s.protocol, s.direction)).translate(TEX_ESCAPES)
        numbers = [cell(m, d, r"$\pm$") for m, d in zip(s.means, s.deviations, strict=True)]
        lines.append(f"{name} & {s.runs} & {' & '.join(numbers)} \\\\")
    return "\n".join(lines) + "\n"


def csv_table(summaries: Sequence[Summary]) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["group", "protocol", "direction", "runs", *COLUMNS, *(f"{c}_std" for c in COLUMNS)])
    for s in summaries:
        numbers = [f"{value:.4f}" for value in (*s.means, *s.deviations)]
        writer.writerow([s.group.name, s.protocol, s.direction, s.runs, *numbers])
    return file.getvalue()


def find_result(run: Record, protocol: str, direction: str) -> dict[str, Any] | None:
    """The run's result in this protocol and direction."""
    return next(
        (
            r
            for r in run.results
            if str(r["protocol"]) == protocol and str(r.get("direction", "")) == direction
        ),
        None,
    )


def repeated_seeds(group: Group) -> list[tuple[str, str]]:
    """(trial, seed) of several runs of the group; such runs cannot be paired."""
    return [key for key, count in Counter(map(_repetition, group.runs)).items() if count > 1]


def _by_repetition(group: Group) -> dict[tuple[str, str], Record]:
    repeated = repeated_seeds(group)
    return {_repetition(r): r for r in group.runs if _repetition(r) not in repeated}


def _repetition(run: Record) -> tuple[str, str]:
    return str(run.settings.get("trial", "unknown")), str(run.settings.get("seed", "unknown"))


def _letter(index: int) -> str:
    return chr(65 + index % 26) + (str(index // 26) if index >= 26 else "")
