"""The model card of an exported model, as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from sdcl.config import flat, resolve
from sdcl.datasets import source_of
from sdcl.inference.trained_model import TrainedModel

TEMPLATES = Path(__file__).with_name("templates")
METRICS = ("R1", "R5", "R10", "R20", "mAP", "mINP")


def model_card(
    trained: TrainedModel, facts: dict[str, Any], comparisons: Sequence[Any], branches: Sequence[str]
) -> str:
    """Fill the template `templates/model_card.md`.

    Args:
        facts: of `export_facts`.
        comparisons: a `Parity` of each ONNX graph.
        branches: of the ONNX graphs.
    """
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("model_card.md").render(
        trained=trained,
        run=trained.settings.run,
        data=trained.settings.data,
        network=trained.settings.model,
        supervision=facts["supervision"],
        status=facts["status"],
        parameters=sum(p.numel() for p in trained.model.parameters()),
        branches=branches,
        trial=facts["settings"]["trial"] if source_of(trained.settings.data.dataset).trials else None,
        normalization=trained.normalization,
        comparisons=comparisons,
        differences=differences(facts["settings"]),
        tested=facts["rows"][0] if facts["rows"] else None,
        metrics=METRICS,
    )


def differences(settings: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    """(flag, value, value of the recipe) of each setting that differs from its default or its recipe."""
    default = flat(resolve({})[0])
    recipe = flat(resolve({name: settings[name] for name in ("method", "dataset")})[0])
    return [
        (f"--{name.replace('_', '-')}", value, recipe[name])
        for name, value in settings.items()
        if name in recipe and not value == recipe[name] == default.get(name, recipe[name])
    ]
