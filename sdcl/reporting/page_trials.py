"""Build the page of a folder of trials, such as RegDB's ten splits: the numbers of every trial, their mean
and deviation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from sdcl.evaluation.tables import COLUMNS
from sdcl.reporting.curves import METRICS, TRUE, Series, label_series, runs_chart
from sdcl.reporting.html import Chart, Link, Table, render
from sdcl.reporting.page_comparison import metric_overlays
from sdcl.reporting.page_run import settings_tables
from sdcl.reporting.run_record import (
    Record,
    as_mapping,
    as_number,
    notices_of,
    percent,
    stage_name,
    use_of_identities,
)
from sdcl.reporting.statistics import Group, cell, differing, experiment_of, summarize

# Numbers of label sets that get a chart each: key in metrics.jsonl -> title, what a reader has to know.
FOLLOWED = {
    "clusters": ("Clusters", "Dotted: number of identities."),
    "outliers": ("Outliers", "Images without a cluster."),
    "ari": ("Adjusted Rand index", "For the log only."),
    "purity": ("Identity purity", "For the log only."),
    "right": ("Labels that are the image's identity", "For the log only."),
    "churn": ("Label churn", "1 − adjusted Rand index to the previous epoch."),
}


def trials_page(name: str, records: Sequence[Record], *, linked: bool = False) -> str:
    """Return the HTML page of the trials of one experiment.

    Args:
        name: what the experiment is called.
        linked: the page will be written beside the folders of the trials, so it can link to their pages.
    """
    group = Group("A", "", list(records))  # one group even if settings differ: the summary warns of that
    method, dataset = records[0].recipe
    arch = records[0].settings.get("arch", "?")
    return render(
        "trials.html",
        title=f"Trials of {name}",
        subtitle=f"{method} on {dataset}, {arch}, {len(records)} trials, a split and a model each",
        notices=notices_of(records),
        numbers=mean_numbers(group),
        differences=setting_differences(records),
        missing=[f"{r.name}: {line}" for r in records for line in r.missing],
        results=results_tables(group),
        curves=metric_overlays([group]),
        label_charts=label_overlays(records),
        trials=trials_table(records, linked),
        settings=settings_tables(records[0]),
        use_of_identities=use_of_identities(records[0]),
    )


def mean_numbers(group: Group) -> list[tuple[str, str]]:
    """(mean ± deviation, label) of the main metrics of each protocol and direction."""
    return [
        (
            cell(row.means[COLUMNS.index(c)], row.deviations[COLUMNS.index(c)]),
            f"{c}, {row.direction}, {count_trials(row.runs)}",
        )
        for row in summarize([group])
        for c in METRICS
    ]


def setting_differences(records: Sequence[Record]) -> list[str]:
    """One line per setting whose value is not the same in all trials."""
    experiments = [experiment_of(r) for r in records]
    return [
        f"{name}: "
        + ", ".join(f"{r.name} {e.get(name, 'unset')!r}" for r, e in zip(records, experiments, strict=True))
        for name in differing(experiments)
    ]


def results_tables(group: Group) -> list[tuple[str, Table]]:
    """(heading, table) of each protocol and direction: a row per trial, then mean ± deviation."""
    tables = []
    for row in summarize([group]):
        heading = (row.protocol, row.direction)
        tested = [
            (run, r)
            for run in group.runs
            for r in run.results
            if (r["protocol"], r.get("direction", "")) == heading
        ]
        rows = [
            [run.folder.name.replace("_", " "), *(percent(r.get(c)) for c in COLUMNS)] for run, r in tested
        ]
        mean = ["mean ± std", *(cell(m, d) for m, d in zip(row.means, row.deviations, strict=True))]
        sources = " and ".join(dict.fromkeys(run.results_from for run, _ in tested))
        caption = f"{count_trials(row.runs)}; from {sources}."
        tables.append((", ".join(heading), Table(["trial", *COLUMNS], rows, caption, mean)))
    return tables


def label_overlays(records: Sequence[Record]) -> list[Chart]:
    """One chart per number of each label set, with a line for each trial and one for their mean."""
    lines: dict[str, dict[str, Series]] = {}  # number -> label set -> trial -> epoch -> value
    for record in records:
        for key, by_set in label_series(record.rows).items():
            for name, points in by_set.items():
                lines.setdefault(key, {}).setdefault(name, {})[record.folder.name] = points
    true = {
        name: float(np.mean([next(iter(p.values())) for p in trials.values()]))
        for name, trials in lines.get(TRUE, {}).items()
    }
    charts = []
    for key, (title, explanation) in FOLLOWED.items():
        for name, trials in lines.get(key, {}).items():
            level = true.get(name) if key == "clusters" else None
            caption = f"{explanation} Thin: each trial; thick: their mean."
            charts.append(
                runs_chart(
                    trials, dict.fromkeys(trials, 0), f"{title}, {name}", caption, ylabel="", level=level
                )
            )
    return charts


def trials_table(records: Sequence[Record], linked: bool) -> Table:
    rows: list[list[object]] = []
    total = 0.0
    for record in records:
        last: dict[str, Any] = record.rows[-1] if record.rows else {}
        name = record.folder.name
        has_page = linked and (record.folder / "report.html").is_file()
        hours = (
            sum(as_number(s) for row in record.rows for s in as_mapping(row.get("seconds")).values()) / 3600
        )
        total += hours if math.isfinite(hours) else 0
        rows.append(
            [
                Link(name, f"{name}/report.html") if has_page else name,
                str(record.settings.get("seed", "")),
                len(record.rows),
                stage_name(last),
                f"{as_number(last.get('loss')):.3f}",
                f"{hours:.2f}" if math.isfinite(hours) else "",
            ]
        )
    return Table(
        ["trial", "seed", "epochs", "last stage", "last loss", "hours"], rows, f"{total:.2f} hours in all."
    )


def count_trials(trials: int) -> str:
    return f"{trials} trial{'s' * (trials != 1)}"
