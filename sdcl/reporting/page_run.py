"""Build the page of one run: its logs, and views of its model on the images if both are still available."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from sdcl.analysis import published_curves
from sdcl.evaluation.tables import COLUMNS
from sdcl.reporting.curves import label_charts, loss_charts, metric_charts, rate_chart, time_chart
from sdcl.reporting.embedding import map_chart, project, select_images, similarity_charts
from sdcl.reporting.grids import CLUSTER_IMAGES, Cluster, Ranking
from sdcl.reporting.html import Chart, Table, render
from sdcl.reporting.model_views import (
    AttentionMaps,
    TestedModel,
    attention_views,
    cluster_views,
    embed_test_images,
    open_images,
    open_model,
    rankings,
)
from sdcl.reporting.run_record import (
    Record,
    as_number,
    changed_settings,
    notices_of,
    percent,
    stage_name,
    use_of_identities,
)
from sdcl.runtime.errors import UserError
from sdcl.runtime.files import printable

MODEL_PARTS = "ranked galleries, embedding, attention and clusters"  # parts that need the model


class SettingsTables(NamedTuple):
    """Settings that differ from the defaults, all settings, and the environment of training."""

    changed: Table
    all: Table
    environment: Table


@dataclass
class ModelViews:
    """Parts of the page that need model and images; a part that could not be made is empty.

    notices: remarks on the images that differ from what the run recorded.
    """

    epoch: int = -1
    notices: list[str] = field(default_factory=list)
    rankings: list[Ranking] = field(default_factory=list)
    maps: list[Chart] = field(default_factory=list)
    histograms: list[Chart] = field(default_factory=list)
    attention: list[AttentionMaps] = field(default_factory=list)
    clusters: dict[str, list[Cluster]] = field(default_factory=dict)


def run_page(record: Record, *, embed: bool = True, attend: Sequence[str] = (), **moved: str) -> str:
    """Return the HTML page of one run.

    Args:
        embed: load model and images; without, the page is made from the logs alone.
        attend: ends of the paths of test images whose attention is drawn; none: some images are chosen.
        moved: settings that no longer hold on this machine: data_dir, cache_dir, device.
    """
    missing = list(record.missing)
    if embed:
        views = make_views(record, missing, attend, moved)
    else:
        views = ModelViews()
        missing.append(
            f"{MODEL_PARTS}: this page was made from the logs alone (--report logs, or --no-embed); "
            f"`sdcl report {printable(record.folder)}` adds them"
        )
    published_counts = published_curves.COUNTS.get(record.recipe, {}) if record.comparable else {}
    return render(
        "run.html",
        title=f"Run {record.name}",
        subtitle=subtitle(record),
        notices=list(dict.fromkeys([*notices_of([record]), *views.notices])),
        numbers=headline_numbers(record),
        missing=missing,
        results=results_table(record),
        epochs=len(record.rows),
        curves=curve_charts(record),
        published_withheld=record.recipe in published_curves.CURVES and not record.comparable,
        label_charts=label_charts(record.rows, published_counts),
        time_charts=time_chart(record.rows),
        views=views,
        cluster_images=CLUSTER_IMAGES,
        settings=settings_tables(record),
        use_of_identities=use_of_identities(record),
    )


def subtitle(record: Record) -> str:
    if not record.settings:
        return "tested here, trained elsewhere" if record.results else "settings unknown"
    method, dataset = record.recipe
    arch, seed = (record.settings.get(name, "?") for name in ("arch", "seed"))
    text = f"{method} on {dataset}, {arch}, seed {seed}, {len(record.rows)} epochs"
    return ", ".join(filter(None, (text, record.supervision)))


def headline_numbers(record: Record) -> list[tuple[str, str]]:
    """(number, label) of the first test result and of the last epoch."""
    first = record.results[0] if record.results else {}
    shown = [c for c in ("R1", "mAP", "mINP") if c in first]
    numbers = [
        (
            f"{as_number(first[c]):.1f}",
            f"{c}, {first['protocol'].split(',')[0]}, {first.get('direction', '')}",
        )
        for c in shown
    ]
    if record.rows:
        last = record.rows[-1]
        numbers.append((str(len(record.rows)), f"epochs, the last in stage {stage_name(last)}"))
        numbers.append((f"{as_number(last.get('loss')):.3f}", "last loss"))
    return numbers


def results_table(record: Record) -> Table:
    """The test results in the column order of the papers."""
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
    return Table(header, rows, f"Percent; from {record.results_from}.")


def curve_charts(record: Record) -> list[Chart]:
    """Metrics, losses and learning rate over the epochs; published curves only behind runs on the
    complete real data.
    """
    behind = published_curves.CURVES.get(record.recipe, {}) if record.comparable else {}
    return metric_charts(record.rows, behind) + loss_charts(record.rows) + rate_chart(record.rows)


def settings_tables(record: Record) -> SettingsTables:
    changed = changed_settings(record.settings)
    return SettingsTables(
        changed=Table(
            ["setting", "value", "field default"], [[n, repr(v), repr(d)] for n, (v, d) in changed.items()]
        ),
        all=Table(["setting", "value"], [[name, repr(value)] for name, value in record.settings.items()]),
        environment=Table(["environment", ""], list(record.environment.items())),
    )


def make_views(
    record: Record, missing: list[str], attend: Sequence[str], moved: dict[str, str]
) -> ModelViews:
    """Run the last model on the images; a part that cannot be made is named in `missing` instead."""
    views = ModelViews()
    try:
        trained = open_model(record.folder, **moved)
        dataset = open_images(trained)
        if (dataset.synthetic, dataset.complete) != (record.synthetic, record.complete):
            views.notices = list(dataset.notices)
        model = embed_test_images(trained, dataset)
    except Exception as error:
        if not leaves_out(error):
            raise
        missing.append(f"{MODEL_PARTS}: {error}")
        return views
    missing += [trained.note] if trained.note else []
    views.epoch = trained.epoch

    def add_rankings() -> None:
        views.rankings = rankings(model)

    def add_embedding() -> None:
        views.maps, views.histograms = embedding_charts(model)

    def add_attention() -> None:
        views.attention = attention_views(model, attend)

    def add_clusters() -> None:
        views.clusters = cluster_views(trained, dataset)

    parts: dict[str, Callable[[], None]] = {
        "Ranked galleries across modalities": add_rankings,
        "Embedding": add_embedding,
        "Attention of the branches": add_attention,
        "Clusters of the training images": add_clusters,
    }
    for title, add in parts.items():
        try:
            add()
        except Exception as error:
            if not leaves_out(error):
                raise
            missing.append(f"{title}: {error}")
    return views


def leaves_out(error: Exception) -> bool:
    """Whether an error leaves a part of the page out: input, files, or memory that is exhausted."""
    memory = ("allocate memory", "out of memory", "ALLOC_FAILED")  # of PyTorch's RuntimeErrors
    exhausted = isinstance(error, RuntimeError) and any(words in str(error) for words in memory)
    return exhausted or isinstance(error, UserError | OSError)


def embedding_charts(model: TestedModel) -> tuple[list[Chart], list[Chart]]:
    """Maps of some test features in two dimensions; histograms of the similarity of pairs."""
    selected = select_images(model.identities)
    features = np.concatenate([model.features[m][rows] for m, rows in selected.items()])
    identities = np.concatenate([model.identities[m][rows] for m, rows in selected.items()])
    modalities = [m for m, rows in selected.items() for _ in rows]
    maps = [map_chart(name, points, identities, modalities) for name, points in project(features).items()]
    return maps, similarity_charts(model.features, model.identities, model.cameras)
