"""Build the page of several runs side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence

from sdcl.evaluation.tables import COLUMNS
from sdcl.reporting.curves import METRICS, Series, runs_chart
from sdcl.reporting.html import Chart, Table, render
from sdcl.reporting.run_record import Record, as_number, notices_of, percent
from sdcl.reporting.statistics import (
    Group,
    cell,
    differing,
    experiment_of,
    find_result,
    group_runs,
    headings,
    paired_tests,
    repeated_seeds,
    summarize,
)


def comparison_page(records: Sequence[Record]) -> str:
    """Return the HTML page of several runs."""
    groups = group_runs(records)
    return render(
        "comparison.html",
        title=f"{len(records)} runs in {len(groups)} group{'s' * (len(groups) > 1)}",
        subtitle=", ".join(r.name for r in records),
        notices=notices_of(records),
        groups=Table(
            ["group", "runs", "names"],
            [[g.letter, len(g.runs), ", ".join(r.name for r in g.runs)] for g in groups],
        ),
        repeated=[
            f"Group {g.letter} holds several runs of trial {t}, seed {s}: they are left out of the paired "
            "tests."
            for g in groups
            for t, s in repeated_seeds(g)
        ],
        differences=differences_table(groups),
        missing=[f"{r.name}: {line}" for g in groups for r in g.runs for line in r.missing],
        results=results_table(groups),
        tests=tests_table(groups),
        curves=metric_overlays(groups),
        runs=runs_table(groups),
    )


def differences_table(groups: Sequence[Group]) -> Table:
    """The settings in which the groups differ."""
    experiments = [experiment_of(g.runs[0]) for g in groups]
    rows = [[name, *(repr(e.get(name, "unset")) for e in experiments)] for name in differing(experiments)]
    return Table(["setting", *(g.letter for g in groups)], rows)


def results_table(groups: Sequence[Group]) -> Table:
    rows = [
        [r.group.name, r.protocol, r.direction, r.runs, *map(cell, r.means, r.deviations)]
        for r in summarize(groups)
    ]
    caption = "Percent; mean ± sample standard deviation over the runs of a group."
    return Table(["group", "protocol", "direction", "runs", *COLUMNS], rows, caption)


def tests_table(groups: Sequence[Group]) -> Table:
    rows = [
        [
            f"{p.second.letter} − {p.first.letter}",
            p.protocol,
            p.direction,
            p.metric,
            p.pairs,
            f"{p.difference:+.2f}",
            format_p(p.t_test),
            format_p(p.sign_flip),
        ]
        for p in paired_tests(groups)
    ]
    return Table(
        ["groups", "protocol", "direction", "metric", "pairs", "difference", "p, t-test", "p, sign flip"],
        rows,
    )


def metric_overlays(groups: Sequence[Group]) -> list[Chart]:
    """One chart per protocol, direction and metric."""
    lines: dict[tuple[str, str, str], Series] = {}
    group_of: dict[str, int] = {}
    for index, group in enumerate(groups):
        for run in group.runs:
            name = f"{run.name} ({run.folder})"
            group_of[name] = index
            for epoch, result in run.tested():
                for metric in METRICS:
                    value = as_number(result.get(metric))
                    if math.isfinite(value):
                        key = (metric, str(result["protocol"]), str(result.get("direction", "")))
                        lines.setdefault(key, {}).setdefault(name, {})[int(epoch)] = value
    return [
        runs_chart(
            runs,
            {n: group_of[n] for n in runs},
            f"{metric}, {protocol.split(',')[0]}",
            f"{protocol}; {direction}",
        )
        for (metric, protocol, direction), runs in lines.items()
    ]


def runs_table(groups: Sequence[Group]) -> Table:
    """Every result of every run."""
    rows = []
    for group in groups:
        for run in group.runs:
            for protocol, direction in headings([run]):
                result = find_result(run, protocol, direction) or {}
                values = [percent(result.get(c)) for c in COLUMNS]
                rows.append(
                    [
                        run.name,
                        group.letter,
                        str(run.settings.get("seed", "")),
                        protocol,
                        direction,
                        *values,
                        run.results_from,
                    ]
                )
    return Table(["run", "group", "seed", "protocol", "direction", *COLUMNS, "from"], rows)


def format_p(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}"
