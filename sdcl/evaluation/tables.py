"""Result tables as text, Markdown, LaTeX and JSON, in percent, in the order of the papers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from sdcl.evaluation.metrics import Metrics
from sdcl.evaluation.protocols import Result

COLUMNS = ("R1", "R5", "R10", "R20", "mAP", "mINP")


def percentages(metrics: Metrics) -> tuple[float, ...]:
    """The six numbers of `COLUMNS`, in percent. ValueError if the CMC is shorter than 20."""
    values = (metrics.r1, metrics.r5, metrics.r10, metrics.r20, metrics.mAP, metrics.mINP)
    return tuple(100 * value for value in values)


def results_table(results: Sequence[Result]) -> str:
    """Plain aligned text: a header, and a line per result."""
    rows = [[*COLUMNS, "protocol", "direction"]]
    rows += [[*_cells(result), result.protocol, result.direction] for result in results]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        numbers = [cell.rjust(width) for cell, width in zip(row[:-2], widths[:-2], strict=True)]
        texts = [cell.ljust(width) for cell, width in zip(row[-2:], widths[-2:], strict=True)]
        lines.append("  ".join(numbers + texts).rstrip())
    return "\n".join(lines)


def markdown_rows(results: Sequence[Result], header: bool = True) -> str:
    """Lines of a Markdown table: protocol, direction, the six numbers."""
    head = [f"| protocol | direction | {' | '.join(COLUMNS)} |", "|---|---|" + "---:|" * len(COLUMNS)]
    rows = [
        f"| {result.protocol} | {result.direction} | {' | '.join(_cells(result))} |" for result in results
    ]
    return "\n".join(head + rows if header else rows)


def latex_rows(results: Sequence[Result], header: bool = False) -> str:
    r"""Lines of a LaTeX tabular, `protocol, direction & R1 & R5 & R10 & R20 & mAP & mINP \\`."""
    lines = [f"protocol & {' & '.join(COLUMNS)} \\\\"] if header else []
    for result in results:
        name = f"{result.protocol}, {result.direction}".replace("_", r"\_")
        lines.append(f"{name} & {' & '.join(_cells(result))} \\\\")
    return "\n".join(lines)


def markdown_trials(results: Sequence[Result], trials: Sequence[int]) -> str:
    """Lines of a Markdown table: numbers of each trial, then mean and sample deviation of each direction."""
    head = f"| protocol | direction | trial | {' | '.join(COLUMNS)} |"
    lines = [head, "|---|---|---:|" + "---:|" * len(COLUMNS)]
    for row in to_rows(results):
        head = f"| {row['protocol']} | {row['direction']} |"
        for trial, one in zip(trials, row["per_draw"], strict=True):
            lines.append(f"{head} {trial} | {' | '.join(f'{one[c]:.2f}' for c in COLUMNS)} |")
        means = [f"{row[c]:.2f} ± {row['std'][c]:.2f}" for c in COLUMNS]
        lines.append(f"{head} mean ± std | {' | '.join(means)} |")
    return "\n".join(lines)


def to_rows(results: Sequence[Result]) -> list[dict[str, Any]]:
    """Results as JSON values: names, counts, the six percentages, and the same six for each draw or trial.

    "std" is the sample standard deviation over draws or trials, if there are several.
    """
    return [
        {
            "protocol": result.protocol,
            "direction": result.direction,
            "gallery_size": result.gallery_size,
            "num_queries": result.metrics.num_queries,
            "num_valid": result.metrics.num_valid,
            **_named(result.metrics),
            **({"std": _deviations(result)} if len(result.per_draw) > 1 else {}),
            "per_draw": [_named(metrics) for metrics in result.per_draw],
        }
        for result in results
    ]


def to_json(results: Sequence[Result], trials: Sequence[int] = (), **about: Any) -> str:
    """JSON list with one object per result, numbers in percent and unrounded.

    Args:
        trials: trial numbers of the entries of "per_draw", if they are trials.
        about: further entries of every object.
    """
    numbers = {"trials": list(trials)} if trials else {}
    return json.dumps([row | about | numbers for row in to_rows(results)], indent=2)


def _cells(result: Result) -> list[str]:
    return [f"{value:.2f}" for value in percentages(result.metrics)]


def _deviations(result: Result) -> dict[str, float]:
    values = np.array([percentages(metrics) for metrics in result.per_draw])  # (draws, 6)
    return dict(zip(COLUMNS, values.std(0, ddof=1).tolist(), strict=True))


def _named(metrics: Metrics) -> dict[str, float]:
    return dict(zip(COLUMNS, percentages(metrics), strict=True))
