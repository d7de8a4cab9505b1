"""Ranking metrics, the data sets' protocols, and result tables."""

from sdcl.evaluation.metrics import Metrics, mean, rank_metrics
from sdcl.evaluation.protocols import Result, evaluate, mean_results
from sdcl.evaluation.tables import latex_rows, markdown_rows, results_table, to_json, to_rows

__all__ = [
    "Metrics",
    "Result",
    "evaluate",
    "latex_rows",
    "markdown_rows",
    "mean",
    "mean_results",
    "rank_metrics",
    "results_table",
    "to_json",
    "to_rows",
]
