"""What the stages of an epoch did, as it stands in metrics.jsonl."""

from __future__ import annotations

from typing import Any

from sdcl.analysis.label_quality import LabelQuality
from sdcl.methods.interface import Stage


def summarize_stages(trained: list[tuple[Stage, dict[str, float]]], quality: LabelQuality) -> dict[str, Any]:
    """What the stages of an epoch did, for its row of metrics.jsonl.

    "loss" is the mean over all steps. Terms carry the name of their stage where there are several. Of label
    sets with the same name the last counts.

    Args:
        trained: stages and the mean of each of their loss terms; no terms where a stage only reports.
    """
    stepped = [(stage, losses) for stage, losses in trained if losses]
    prefix = "{}/" if len(stepped) > 1 else ""
    steps = sum(stage.iterations for stage, _ in stepped)
    return {
        "stage": trained[-1][0].name,
        "iterations": {stage.name: stage.iterations if losses else 0 for stage, losses in trained},
        "loss": sum(stage.iterations * sum(losses.values()) for stage, losses in stepped) / max(steps, 1),
        "losses": {
            prefix.format(stage.name) + term: value
            for stage, losses in stepped
            for term, value in losses.items()
        },
        "labels": {s.name: quality.describe(s) for stage, _ in trained for s in stage.label_sets},
    }
