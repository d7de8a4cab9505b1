"""The page of one run: what its logs say, and what its last model does with the images, if both are still there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from sdcl.analysis import published_curves as published
from sdcl.datasets import open_dataset
from sdcl.evaluation.tables import COLUMNS
from sdcl.reporting.curves import label_panels, loss_panels, metric_panels, rate_panel, time_bar
from sdcl.reporting.embedding import flatten, map_panel, similarity_panels, some_people
from sdcl.reporting.grids import clusters_html, looks_html, ranked_html
from sdcl.reporting.html import Section, cards, figures, folded, joined, listed, note, page, table, text
from sdcl.reporting.model_views import Trained, cluster_sheets, galleries, load, looks, ranked, settings_of
from sdcl.reporting.run_record import Record, changed_settings, number, percent, stage_name
from sdcl.runtime.errors import UserError


def run_page(record: Record, *, embed: bool = True, wanted: Sequence[str] = (), **instead: str) -> str:
    """HTML of one run.

    Args:
        embed: rebuild model and images; without, the page is made of the logs alone.
        wanted: see `looks`. instead: settings of places that moved, such as data_dir.
    """
    missing = list(record.missing)
    seen = seen_sections(record, missing, wanted, instead) if embed else []
    if not embed:
        missing.append(
            "grids, embeddings, attention and cluster sheets: this page was asked for from the logs alone (--report logs, or --no-embed); "
            f"`python -m sdcl.cli.report {record.folder}` runs the model and draws them"
        )
    sections = [
        Section("summary", "Summary", summary(record, missing)),
        Section("results", "Results", results(record)),
        Section("curves", "Curves", curve_figures(record)),
        Section("labels", "Pseudo-labels", label_figures(record)),
        Section("time", "Time", figures(time_bar(record.rows))),
        *seen,
        Section("settings", "Settings and environment", settings_tables(record)),
    ]
    return page(
        f"Run {record.name}",
        subtitle(record),
        sections,
        "Identities of training images are used on this page only; training never saw them.",
    )


# ------------------------------------------------------------------ from the logs


def subtitle(record: Record) -> str:
    if not record.settings:
        return "tested here, trained elsewhere" if record.results else "settings unknown"
    method, dataset = record.recipe
    return f"{method} on {dataset}, {record.settings.get('arch', '?')}, seed {record.settings.get('seed', '?')}, {len(record.rows)} epochs"


def summary(record: Record, missing: Sequence[str]) -> Markup:
    first = record.results[0] if record.results else {}
    numbers = [(f"{number(first[c]):.1f}", c) for c in ("R1", "mAP", "mINP") if c in first]
    if numbers:
        numbers = [(value, f"{name}, {first['protocol'].split(',')[0]}, {first.get('direction', '')}") for value, name in numbers]
    if record.rows:
        last = record.rows[-1]
        numbers += [
            (str(len(record.rows)), f"epochs, the last in stage {stage_name(last)}"),
            (f"{number(last.get('loss')):.3f}", "last loss"),
        ]
    parts = [note(words) for words in record.notices] + [cards(numbers)]
    if missing:
        parts += [Markup("<h3>Not on this page, and why</h3>"), listed(missing)]
    return joined(parts)


def results(record: Record) -> Markup:
    """The metrics table in the papers' column order."""
    if not record.results:
        return text("No test was written: neither test.json nor a tested epoch in metrics.jsonl.")
    header = ["protocol", "direction", *COLUMNS, "gallery", "queries"]
    rows = [
        [
            r["protocol"],
            r.get("direction", ""),
            *(percent(r.get(c)) for c in COLUMNS),
            r.get("gallery_size", ""),
            r.get("num_valid", ""),
        ]
        for r in record.results
    ]
    return table(header, rows, f"Percent; from {record.results_from}.")


def curve_figures(record: Record) -> Markup:
    real = record.real_data
    behind = published.CURVES.get(record.recipe, {}) if real else {}
    parts = [figures(metric_panels(record.rows, behind) + loss_panels(record.rows) + rate_panel(record.rows))]
    if record.recipe in published.CURVES and not real:
        parts.append(text("Published values are not drawn: the log does not vouch that this run saw the complete real data set."))
    return joined(parts) if record.rows else text("No row in metrics.jsonl.")


def label_figures(record: Record) -> Markup:
    behind = published.COUNTS.get(record.recipe, {}) if record.real_data else {}
    return figures(label_panels(record.rows, behind))


def settings_tables(record: Record) -> Markup:
    changed = changed_settings(record.settings)
    everything = table(["setting", "value"], [[name, repr(value)] for name, value in record.settings.items()])
    different = table(["setting", "value", "field default"], [[n, repr(v), repr(d)] for n, (v, d) in changed.items()])
    environment = table(["environment", ""], record.environment.items())
    return joined(
        [
            folded(f"{len(changed)} settings that differ from the fields' defaults", different),
            folded(f"All {len(record.settings)} settings", everything),
            folded("Environment", environment),
        ]
    )


# ------------------------------------------------------------------ from model and images


def seen_sections(record: Record, missing: list[str], wanted: Sequence[str], instead: dict[str, str]) -> list[Section]:
    """What the last model does; each part that cannot be made is named in `missing` instead."""
    try:
        settings = settings_of(record.settings, **instead)
        d = settings.data
        dataset = open_dataset(d.dataset, settings.data_dir, trial=d.trial, allow_incomplete=d.allow_incomplete)
        _tell_notices(record, dataset.notices)
        trained = load(record.folder, settings, dataset)
        missing += [trained.said] if trained.said else []
    except (UserError, OSError, RuntimeError) as error:  # RuntimeError: a device that is not there, or too small
        missing.append(f"grids, embeddings, attention and cluster sheets: {error}")
        return []
    parts: list[tuple[str, str, Callable[[], Markup]]] = [
        ("ranked", "Ranked galleries across modalities", lambda: ranked_galleries(trained)),
        ("embedding", "Embedding", lambda: embedding_figures(trained)),
        ("attention", "Where the branches look", lambda: attention_pictures(trained, wanted)),
        ("clusters", "Clusters of the training images", lambda: sheets(trained)),
    ]
    sections = []
    for name, title, make in parts:
        try:
            sections.append(Section(name, title, make()))
        except (UserError, OSError, RuntimeError) as error:
            missing.append(f"{title}: {error}")
    return sections


def _tell_notices(record: Record, lines: Sequence[str]) -> None:
    """What the data folder says now, unless the log said the same of it, perhaps under another path."""
    kinds = (" is synthetic ", " is incomplete")
    record.notices += [n for n in lines if not any(k in n and k in old for k in kinds for old in record.notices)]


def ranked_galleries(trained: Trained) -> Markup:
    legend = text(
        "Number: cosine similarity with the query. ✓ and an unbroken green frame: the same person; ✗ and a broken red frame: another one. "
        f"Model of epoch {trained.epoch}."
    )
    return legend + joined(
        ranked_html(f"{view.query.capitalize()} to {view.gallery}", view.note, ranked(trained, view)) for view in galleries(trained)
    )


def embedding_figures(trained: Trained) -> Markup:
    rows = some_people(trained.identities)
    features = np.concatenate([trained.features[m][r] for m, r in rows.items()])
    people = np.concatenate([trained.identities[m][r] for m, r in rows.items()])
    sides = [m for m, r in rows.items() for _ in r]
    maps = [map_panel(name, places, people, sides) for name, places in flatten(features).items()]
    return figures(maps, large=True) + figures(similarity_panels(trained.features, trained.identities, trained.cameras))


def attention_pictures(trained: Trained, wanted: Sequence[str]) -> Markup:
    pictures = looks(trained, wanted)
    if not pictures:
        return Markup("")
    said = text(
        "Attention of the class token on the patches, dark blue: none, yellow: the most in this picture. The last block of each branch, mean "
        "over its heads; the shallow branch reads the patches as they entered the first block. Rollout multiplies all blocks of the deep branch."
    )
    return said + looks_html(pictures)


def sheets(trained: Trained) -> Markup:
    said = (
        "Labelled anew by the method, with its settings of the last epoch. ✓: the person most frequent in the cluster; "
        "✗: somebody else. At most 15 images, evenly spread over the list."
    )
    return joined(clusters_html(m.capitalize(), said, clusters) for m, clusters in cluster_sheets(trained).items())


def write(run: Path, record: Record, out: Path | None, **how: Any) -> Path:
    """The page on disk."""
    target = out or run / "report.html"
    target.write_text(run_page(record, **how), encoding="utf-8")
    return target
