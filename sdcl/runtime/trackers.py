"""Each epoch's numbers for the programs that people watch runs with: TensorBoard when it is installed, Weights & Biases when asked for."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sdcl.runtime.errors import SettingError


class Trackers:
    """Writes rows of metrics.jsonl to what is there; used by the main process only.

    Args:
        first: the first epoch that will be written; what TensorBoard holds from there on is forgotten.
        project: of Weights & Biases; "" does not use it.

    Raises:
        ValueError: --wandb without wandb.
    """

    def __init__(self, folder: Path, settings: dict[str, Any], first: int, project: str = ""):
        self.events, self.wandb = None, None
        if importlib.util.find_spec("tensorboard") is not None:
            from torch.utils.tensorboard import SummaryWriter

            self.events = SummaryWriter(str(folder / "tensorboard"), purge_step=first)
        if project:
            if importlib.util.find_spec("wandb") is None:
                raise SettingError("--wandb needs Weights & Biases: pip install wandb, or leave the flag out")
            import wandb

            self.wandb = wandb.init(project=project, name=folder.name, id=run_id(folder), resume="allow", dir=str(folder), config=settings)

    def epoch(self, row: dict[str, Any]) -> None:
        values = dict(numbers(row))
        epoch = values.pop("epoch")
        if self.events:
            for name, value in values.items():
                self.events.add_scalar(name, value, epoch)
            self.events.flush()
        if self.wandb:
            self.wandb.log(values, step=epoch)

    def close(self) -> None:
        if self.events:
            self.events.close()
        if self.wandb:
            self.wandb.finish()


def numbers(value: Any, name: str = "") -> Iterator[tuple[str, float]]:
    """Every number in a row, named by its path: losses/cluster_visible_deep, test/SYSU-MM01 all-search single-shot.../mAP."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "per_draw":  # metrics.jsonl has these
                continue
            yield from numbers(inner, f"{name}/{key}" if name else str(key))
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            label = inner.get("protocol", place) if isinstance(inner, dict) else place
            direction = inner.get("direction", "") if isinstance(inner, dict) else ""
            yield from numbers(inner, "/".join(filter(None, (name, str(label), str(direction)))))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield name, value


def run_id(folder: Path) -> str:
    """The same for the same folder, so that a continued run stays one run."""
    return "-".join(part for part in folder.resolve().parts if part.isalnum() or "_" in part or "-" in part)[-100:]
