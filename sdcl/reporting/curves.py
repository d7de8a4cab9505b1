"""Charts over the epochs of a run, from the rows of metrics.jsonl.

Names of losses, label sets, stages and phases may be any.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, MaxNLocator, NullFormatter

from sdcl.analysis.published_curves import SOURCE
from sdcl.reporting.html import Chart
from sdcl.reporting.run_record import as_mapping, as_number, results_in, stage_name
from sdcl.reporting.style import COLOURS, GREY, PANEL, line_style, panel, svg_uri

Row = Mapping[str, Any]
Series = dict[str, dict[int, float]]  # name -> epoch -> value
METRICS = ("R1", "mAP", "mINP")
MOST_LINES, MOST_MARKERS = 8, 15
TRUE = "true_identities"
TITLES = {
    "clusters": "Clusters (thin: number of identities)",
    "outliers": "Outliers (images without a cluster)",
    "ari": "Adjusted Rand index (for the log only)",
    "purity": "Identity purity (for the log only)",
    "right": "Labels that are the image's identity (for the log only)",
    "camera_purity": "Camera purity (for the log only)",
    "eps": "DBSCAN radius (--eps)",
    "churn": "Label churn: 1 − ARI to the previous epoch",
    "outlier_churn": "Images that became or ceased to be outliers",
}


def series(rows: Iterable[Row], key: str) -> Series:
    """{name: {epoch: value}} of the rows' field `key`, a mapping of numbers; values that are not finite
    numbers are left out.
    """
    values: Series = {}
    for row in rows:
        for name, value in as_mapping(row.get(key)).items():
            if math.isfinite(as_number(value)):
                values.setdefault(name, {})[int(row["epoch"])] = as_number(value)
    return values


def loss_charts(rows: Sequence[Row]) -> list[Chart]:
    """The total loss, then one chart for all terms whose names begin with the same word."""
    total = {
        int(r["epoch"]): as_number(r.get("loss")) for r in rows if math.isfinite(as_number(r.get("loss")))
    }
    charts = [_lines({"loss": total}, rows, "Loss", "mean over the steps")] if total else []
    by_word: dict[str, Series] = {}
    for name, values in series(rows, "losses").items():
        by_word.setdefault(name.split("_")[0].split("/")[0], {})[name] = values
    return charts + [
        _lines(terms, rows, f"Loss terms: {word}", "mean over the steps") for word, terms in by_word.items()
    ]


def metric_charts(
    rows: Sequence[Row], published: Mapping[str, Mapping[str, Mapping[int, float]]]
) -> list[Chart]:
    """One chart per protocol and direction: R1, mAP, mINP in percent, published points behind them.

    Args:
        published: beginning of a protocol's name -> metric -> epoch -> percent; empty: none are drawn.
    """
    measured: dict[tuple[str, str], Series] = {}
    for row in rows:
        for result in results_in(row.get("test")):
            lines = measured.setdefault((str(result["protocol"]), str(result.get("direction", ""))), {})
            for metric in METRICS:
                if math.isfinite(as_number(result.get(metric))):
                    lines.setdefault(metric, {})[int(row["epoch"])] = as_number(result[metric])
    charts = []
    for (protocol, direction), lines in measured.items():
        behind = next((points for start, points in published.items() if protocol.startswith(start)), {})
        caption = f"{protocol}; {direction}"
        charts.append(_lines(lines, rows, protocol.split(",")[0], "percent", behind=behind, caption=caption))
    return charts


def label_series(rows: Iterable[Row]) -> dict[str, Series]:
    """Name of a number about labels -> {name of the label set: {epoch: value}}."""
    numbers: dict[str, Series] = {}
    for row in rows:
        for name, facts in as_mapping(row.get("labels")).items():
            for key, value in as_mapping(facts).items():
                if math.isfinite(as_number(value)):
                    numbers.setdefault(key, {}).setdefault(name, {})[int(row["epoch"])] = as_number(value)
    return numbers


def label_charts(
    rows: Sequence[Row], published: Mapping[str, Mapping[str, Mapping[int, float]]]
) -> list[Chart]:
    """One chart per number about labels, a line for each label set; DBSCAN's radius only if it changed
    during the run.

    Args:
        published: number -> name of the label set -> epoch -> value.
    """
    numbers = label_series(rows)
    if len({value for points in numbers.get("eps", {}).values() for value in points.values()}) == 1:
        del numbers["eps"]
    true = {name: next(iter(points.values())) for name, points in numbers.pop(TRUE, {}).items()}
    return [
        _lines(
            lines,
            rows,
            TITLES.get(key, key),
            "",
            behind=published.get(key, {}),
            level=true if key == "clusters" else {},
        )
        for key, lines in numbers.items()
    ]


def rate_chart(rows: Sequence[Row]) -> list[Chart]:
    """The learning rate; nothing if the rows hold none."""
    rates = {int(r["epoch"]): as_number(r.get("lr")) for r in rows if as_number(r.get("lr")) > 0}
    return [_lines({"learning rate": rates}, rows, "Learning rate", "", log=True)] if rates else []


def time_chart(rows: Sequence[Row]) -> list[Chart]:
    """Seconds of each phase over all epochs; nothing if the rows hold none."""
    totals = {name: sum(points.values()) for name, points in series(rows, "seconds").items()}
    whole = sum(totals.values())
    if not whole > 0:
        return []
    with panel("Time per phase", "seconds, all epochs", size=(PANEL[0], 1.2 + 0.25 * len(totals))) as (
        figure,
        axes,
    ):
        names = list(totals)
        bars = axes.barh(
            names, list(totals.values()), color=[COLOURS[i % len(COLOURS)] for i in range(len(names))]
        )
        axes.bar_label(bars, [f"{t:,.0f} s, {t / whole:.0%}" for t in totals.values()], padding=3, fontsize=8)
        axes.set_xlim(0, 1.3 * max(totals.values()))
        axes.invert_yaxis()
        axes.grid(False)
        shares = ", ".join(f"{n} {t / whole:.0%}" for n, t in totals.items())
        return [
            Chart(
                svg_uri(figure),
                f"Bars of the seconds of each phase: {shares}.",
                f"{whole:,.0f} seconds in all.",
            )
        ]


def runs_chart(
    lines: Series,
    group_of: Mapping[str, int],
    title: str,
    caption: str = "",
    *,
    ylabel: str = "percent",
    level: float | None = None,
) -> Chart:
    """One number of several runs over the epochs.

    Runs of a group share a colour; the thick line is their mean, the dotted one `level`.

    Args:
        lines: run -> epoch -> value. group_of: run -> index of its group.
    """
    with panel(title, "epoch", ylabel) as (figure, axes):
        for group in sorted(set(group_of.values())):
            members = [points for name, points in lines.items() if group_of[name] == group]
            style = line_style(group) | {"marker": ""}
            for points in members:
                axes.plot(list(points), list(points.values()), **style | {"linewidth": "0.7", "alpha": 0.6})
            shared = sorted(set.intersection(*(set(p) for p in members))) if members else []
            mean = [float(np.mean([p[e] for p in members])) for e in shared]
            axes.plot(shared, mean, **line_style(group), linewidth=2, label=f"group {chr(65 + group % 26)}")
        if level is not None:
            axes.axhline(level, color=GREY, linewidth=1, linestyle=":")
        _finish(figure, axes, len(set(group_of.values())))
        description = "; ".join(_describe(name, points) for name, points in lines.items())
        return Chart(svg_uri(figure), f"{title} over epochs. {description}.", caption)


def _lines(
    lines: Series,
    rows: Sequence[Row],
    title: str,
    ylabel: str,
    *,
    behind: Mapping[str, Mapping[int, float]] | None = None,
    level: Mapping[str, float] | None = None,
    caption: str = "",
    log: bool = False,
) -> Chart:
    """Lines over epochs; more than `MOST_LINES` become their mean and range."""
    behind, level = behind or {}, level or {}
    with panel(title, "epoch", ylabel) as (figure, axes):
        if log:
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter(FormatStrFormatter("%.0e"))  # matplotlib's own writes mathematics
            axes.yaxis.set_minor_formatter(NullFormatter())
        if len(lines) > MOST_LINES:
            _band(axes, lines)
        else:
            for i, (name, points) in enumerate(lines.items()):
                style = line_style(i)
                if name in behind:
                    faint = style | {
                        "linestyle": "",
                        "markersize": "6",
                        "markerfacecolor": "none",
                        "alpha": 0.45,
                    }
                    axes.plot(list(behind[name]), list(behind[name].values()), **faint, zorder=1)
                if name in level:
                    axes.axhline(
                        level[name], color=style["color"], linewidth=0.8, linestyle=(0, (1, 1.5 + i))
                    )
                axes.plot(
                    list(points),
                    list(points.values()),
                    **style,
                    markevery=1 + len(points) // MOST_MARKERS,
                    label=name,
                )
        axes.margins(y=0.12)  # room for the stages' names
        _mark_stages(axes, rows)
        _finish(figure, axes, min(len(lines), MOST_LINES))
    if any(name in behind for name in lines):
        caption = f"{caption}{'. ' if caption else ''}Hollow points: {SOURCE}."
    description = "; ".join(_describe(name, points) for name, points in list(lines.items())[:MOST_LINES])
    return Chart(svg_uri(figure), f"{title} over epochs. {description}.", caption)


def _band(axes: Axes, lines: Series) -> None:
    epochs = sorted({e for points in lines.values() for e in points})
    values = [[points[e] for points in lines.values() if e in points] for e in epochs]
    axes.fill_between(epochs, [min(v) for v in values], [max(v) for v in values], color=COLOURS[0], alpha=0.2)
    axes.plot(
        epochs, [float(np.mean(v)) for v in values], **line_style(0), label=f"mean and range of {len(lines)}"
    )


def _mark_stages(axes: Axes, rows: Sequence[Row]) -> None:
    """A line where the stage changes, its new name beside it."""
    names = [stage_name(row) for row in rows]
    for before, name, row in zip(names, names[1:], rows[1:]):
        if name != before:
            at = row["epoch"] - 0.5
            axes.axvline(at, color=GREY, linewidth=0.8, linestyle=":")
            axes.annotate(
                name[:24],
                (at, 1),
                xycoords=("data", "axes fraction"),
                xytext=(3, -8),
                textcoords="offset points",
                fontsize=7,
            )


def _finish(figure: Figure, axes: Axes, lines: int) -> None:
    locator = axes.xaxis.get_major_locator()
    if isinstance(locator, MaxNLocator):
        locator.set_params(integer=True)
    if lines > 1:
        tight: dict[str, Any] = (
            {"fontsize": 7, "handlelength": 1.6, "columnspacing": 1.0} if lines > 3 else {}
        )
        figure.legend(loc="outside lower center", ncols=2 if lines > 3 else lines, **tight)


def _describe(name: str, points: Mapping[int, float]) -> str:
    first, last = min(points), max(points)
    return f"{name} from {points[first]:.4g} at epoch {first} to {points[last]:.4g} at epoch {last}"
