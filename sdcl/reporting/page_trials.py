"""The page of a folder of trials, such as RegDB's ten splits with a model each: every trial's numbers, their mean and deviation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from sdcl.evaluation.tables import COLUMNS
from sdcl.reporting.curves import TRUE, Series, labels_of, overlay
from sdcl.reporting.html import Drawn, Section, cards, figures, joined, listed, note, page, table, text
from sdcl.reporting.page_comparison import overlays
from sdcl.reporting.page_run import settings_tables
from sdcl.reporting.run_record import Record, mapping, number, percent, stage_name
from sdcl.reporting.statistics import Group, cell, differing, identity_of, summarize

# Of the labels, one panel each for every name of them: title, and what a reader has to know.
FOLLOWED = {
    "clusters": ("Clusters", "Dotted: the true number."),
    "outliers": ("Outliers", "Images left out."),
    "ari": ("Adjusted Rand index", "Shown, never used."),
    "purity": ("Identity purity", "Shown, never used."),
    "churn": ("Label churn", "1 − adjusted Rand index with the epoch before."),
}


def write(folder: Path, records: Sequence[Record], out: Path | None = None) -> Path:
    """The page on disk, by default beside the trials, which it then links to."""
    target = out or folder / "report.html"
    target.write_text(trials_page(folder.absolute().name, records, linked=out is None), encoding="utf-8")
    return target


def trials_page(name: str, records: Sequence[Record], *, linked: bool = False) -> str:
    """HTML of the trials of one experiment.

    Args:
        linked: the page will lie beside the trials' folders, so their own pages can be reached from it.
    """
    together = Group("A", "", list(records))  # one group, whatever differs between them: the summary says what does
    method, dataset = records[0].recipe
    sections = [
        Section("summary", "Summary", summary(together)),
        Section("results", "Results of each trial", results(together)),
        Section("curves", "Curves", figures(overlays([together]))),
        Section("labels", "Pseudo-labels", figures(label_overlays(records))),
        Section("trials", "Trials", trials_table(records, linked)),
        Section("settings", "Settings and environment of the first trial", settings_tables(records[0])),
    ]
    subtitle = f"{method} on {dataset}, {records[0].settings.get('arch', '?')}, {len(records)} trials, each with its own split and model"
    return page(
        f"Trials of {name}", subtitle, sections, "Identities of training images are used on this page only; training never saw them."
    )


def summary(together: Group) -> Markup:
    shown = [
        (cell(row.means[COLUMNS.index(c)], row.deviations[COLUMNS.index(c)]), f"{c}, {row.direction}, {counted(row.runs)}")
        for row in summarize([together])
        for c in ("R1", "mAP", "mINP")
    ]
    notices = list(dict.fromkeys(n for r in together.runs for n in r.notices))
    keys = [identity_of(r) for r in together.runs]
    different = [f"{n}: " + ", ".join(f"{r.name} {key.get(n, 'unset')!r}" for r, key in zip(together.runs, keys)) for n in differing(keys)]
    missing = [f"{r.name}: {m}" for r in together.runs for m in r.missing]
    parts = [*map(note, notices), cards(shown)]
    if different:
        parts += [note("These trials were not trained with the same settings; their mean is of no one experiment."), listed(different)]
    if missing:
        parts += [Markup("<h3>Not on this page, and why</h3>"), listed(missing)]
    return joined(parts)


def results(together: Group) -> Markup:
    """A table for each protocol and direction: a row per trial in the papers' column order, then mean ± deviation."""
    tables = []
    for row in summarize([together]):
        found = [(run, one) for run in together.runs for one in run.results if (one["protocol"], one.get("direction", "")) == row[1:3]]
        lines: list[Sequence[object]] = [[run.folder.name.replace("_", " "), *(percent(one.get(c)) for c in COLUMNS)] for run, one in found]
        mean = [Markup("<b>{}</b>").format(cell(m, d)) for m, d in zip(row.means, row.deviations)]
        sources = " and ".join(dict.fromkeys(run.results_from for run, _ in found))
        tables.append(Markup("<h3>{}, {}</h3>").format(row.protocol, row.direction))
        tables.append(table(["trial", *COLUMNS], [*lines, [Markup("<b>mean ± std</b>"), *mean]], f"{counted(row.runs)}; from {sources}."))
    if not tables:
        return text("None of these trials was tested.")
    return text("Percent; std is the sample standard deviation over the trials.") + joined(tables)


def label_overlays(records: Sequence[Record]) -> list[Drawn]:
    """One panel for each number of each set of labels, a line per trial and their mean."""
    lines: dict[str, dict[str, Series]] = {}  # number -> name of the labels -> trial -> epoch -> value
    for record in records:
        for key, found in labels_of(record.rows).items():
            for name, points in found.items():
                lines.setdefault(key, {}).setdefault(name, {})[record.folder.name] = points
    true = {name: float(np.mean([next(iter(p.values())) for p in found.values()])) for name, found in lines.get(TRUE, {}).items()}
    drawn = []
    for key, (title, said) in FOLLOWED.items():
        for name, found in lines.get(key, {}).items():
            level = true.get(name) if key == "clusters" else None
            caption = f"{said} Thin: each trial; thick: their mean."
            drawn.append(overlay(found, dict.fromkeys(found, 0), f"{title}, {name}", caption, ylabel="", level=level))
    return drawn


def trials_table(records: Sequence[Record], linked: bool) -> Markup:
    rows = []
    for record in records:
        last: dict[str, Any] = record.rows[-1] if record.rows else {}
        name = record.folder.name
        has_page = linked and (record.folder / "report.html").is_file()
        shown = Markup('<a href="{}/report.html">{}</a>').format(name, name) if has_page else name
        seconds = sum(number(s) for row in record.rows for s in mapping(row.get("seconds")).values())
        hours = f"{seconds / 3600:.2f}" if math.isfinite(seconds) else ""
        seed = str(record.settings.get("seed", ""))
        rows.append([shown, seed, len(record.rows), stage_name(last), f"{number(last.get('loss')):.3f}", hours])
    total = np.nansum([float(row[-1] or 0) for row in rows])
    return table(["trial", "seed", "epochs", "last stage", "last loss", "hours"], rows, f"{total:.2f} hours in all.")


def counted(trials: int) -> str:
    return f"{trials} trial{'s' * (trials != 1)}"
