"""The page of several runs side by side, and its tables for a paper."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup

from sdcl.evaluation.tables import COLUMNS
from sdcl.reporting.curves import METRICS, Series, overlay
from sdcl.reporting.html import Section, figures, joined, listed, note, page, table, text
from sdcl.reporting.run_record import Record, number, percent
from sdcl.reporting.statistics import (
    Group,
    as_csv,
    cell,
    differing,
    group_runs,
    headings,
    identity_of,
    latex,
    markdown,
    paired_tests,
    repeated_seeds,
    summarize,
)


def write(records: Sequence[Record], out: Path) -> list[Path]:
    """The page, and beside it the same table as Markdown, LaTeX and CSV."""
    rows = summarize(group_runs(records))
    texts = {".html": comparison_page(records), ".md": markdown(rows), ".tex": latex(rows), ".csv": as_csv(rows)}
    written = []
    for suffix, words in texts.items():
        written.append(out if suffix == ".html" else out.with_suffix(suffix))
        written[-1].write_text(words, encoding="utf-8")
    return written


def comparison_page(records: Sequence[Record]) -> str:
    """HTML of several runs."""
    groups = group_runs(records)
    sections = [
        Section("groups", "Groups", groups_table(groups)),
        Section("results", "Results", results_table(groups)),
        Section("tests", "Paired tests", tests_table(groups)),
        Section("curves", "Curves", figures(overlays(groups))),
        Section("runs", "Each run", runs_table(groups)),
    ]
    return page(f"{len(records)} runs in {len(groups)} group{'s' * (len(groups) > 1)}", ", ".join(r.name for r in records), sections)


def groups_table(groups: Sequence[Group]) -> Markup:
    """Which runs repeat one another, and what differs between the groups."""
    keys = [identity_of(g.runs[0]) for g in groups]
    names = differing(keys)
    members = [[g.letter, len(g.runs), ", ".join(r.name for r in g.runs)] for g in groups]
    notices = list(dict.fromkeys(n for g in groups for r in g.runs for n in r.notices))
    missing = [f"{r.name}: {m}" for g in groups for r in g.runs for m in r.missing]
    parts = [note(n) for n in notices] + [text("Runs of a group have equal settings but for the seed, RegDB's trial, and places.")]
    parts.append(table(["group", "runs", "names"], members))
    twice = [
        f"Group {g.letter} holds several runs of trial {t}, seed {s}: they are no pairs." for g in groups for t, s in repeated_seeds(g)
    ]
    parts.append(listed(twice))
    if names:
        values = [[n, *(repr(key.get(n, "unset")) for key in keys)] for n in names]
        parts += [Markup("<h3>What differs between the groups</h3>"), table(["setting", *(g.letter for g in groups)], values)]
    return joined([*parts, listed(missing)])


def results_table(groups: Sequence[Group]) -> Markup:
    rows = [[r.group.name, r.protocol, r.direction, r.runs, *map(cell, r.means, r.deviations)] for r in summarize(groups)]
    if not rows:
        return text("None of these runs was tested.")
    caption = "Percent; mean ± sample standard deviation over the runs of a group."
    return table(["group", "protocol", "direction", "runs", *COLUMNS], rows, caption)


def tests_table(groups: Sequence[Group]) -> Markup:
    found = paired_tests(groups)
    if not found:
        return text("None: a paired test needs two groups that share at least two seeds or trials.")
    rows = [
        [
            f"{p.second.letter} − {p.first.letter}",
            p.protocol,
            p.direction,
            p.metric,
            p.pairs,
            f"{p.difference:+.2f}",
            _p(p.t_test),
            _p(p.sign_flip),
        ]
        for p in found
    ]
    said = (
        "Pairs are runs of equal seed and trial. p is two-sided and not corrected for several tests; the exact sign-flip test cannot go below "
        "2 / 2ⁿ with n pairs (0.25 with 3, 0.06 with 5). Seeds say how training varies, not how data sets do."
    )
    return text(said) + table(["groups", "protocol", "direction", "metric", "pairs", "difference", "p, t-test", "p, sign flip"], rows)


def overlays(groups: Sequence[Group]) -> list:
    """One panel per protocol, direction and metric."""
    lines: dict[tuple[str, str, str], Series] = {}
    group_of: dict[str, int] = {}
    for index, group in enumerate(groups):
        for run in group.runs:
            name = f"{run.name} ({run.folder})"
            group_of[name] = index
            for epoch, result in run.tested():
                for metric in METRICS:
                    value = number(result.get(metric))
                    if math.isfinite(value):
                        key = (metric, str(result["protocol"]), str(result.get("direction", "")))
                        lines.setdefault(key, {}).setdefault(name, {})[int(epoch)] = value
    return [
        overlay(found, {n: group_of[n] for n in found}, f"{metric}, {protocol.split(',')[0]}", f"{protocol}; {direction}")
        for (metric, protocol, direction), found in lines.items()
    ]


def runs_table(groups: Sequence[Group]) -> Markup:
    rows = []
    for group in groups:
        for run in group.runs:
            for protocol, direction in headings([run]):
                found = next(r for r in run.results if (str(r["protocol"]), str(r.get("direction", ""))) == (protocol, direction))
                values = [percent(found.get(c)) for c in COLUMNS]
                rows.append([run.name, group.letter, str(run.settings.get("seed", "")), protocol, direction, *values, run.results_from])
    return table(["run", "group", "seed", "protocol", "direction", *COLUMNS, "from"], rows)


def _p(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}"
