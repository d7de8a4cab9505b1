"""TensorBoard and Weights & Biases logging of each epoch's numbers."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sdcl.runtime.errors import SettingError


class Trackers:
    """Logs rows of metrics.jsonl to TensorBoard, where it is installed, and to Weights & Biases on request.

    For the main process only.

    Args:
        first: the first epoch that will be logged; TensorBoard's events from there on are dropped.
        project: of Weights & Biases; "": it is not used.

    Raises:
        SettingError: --wandb without wandb.
    """

    def __init__(self, folder: Path, settings: dict[str, Any], first: int, project: str = ""):
        self.events: Any = None
        self.wandb: Any = None
        if importlib.util.find_spec("tensorboard") is not None:
            from torch.utils.tensorboard import SummaryWriter

            self.events = SummaryWriter(str(folder / "tensorboard"), purge_step=first)
        if project:
            if importlib.util.find_spec("wandb") is None:
                raise SettingError("--wandb needs Weights & Biases: pip install wandb, or leave the flag out")
            import wandb

            self.wandb = wandb.init(
                project=project,
                name=folder.name,
                id=run_id(folder),
                resume="allow",
                dir=str(folder),
                config=settings,
            )

    def epoch(self, row: dict[str, Any]) -> None:
        """Log a row."""
        values = dict(numbers(row))
        epoch = values.pop("epoch")
        if self.events is not None:
            for name, value in values.items():
                self.events.add_scalar(name, value, epoch)
            self.events.flush()
        if self.wandb is not None:
            self.wandb.log(values, step=epoch)

    def close(self) -> None:
        """Write what is pending; call after the last epoch."""
        if self.events is not None:
            self.events.close()
        if self.wandb is not None:
            self.wandb.finish()


def numbers(value: Any, name: str = "") -> Iterator[tuple[str, float]]:
    """Every number of a row with its path as name: losses/cluster_visible_deep, test/PROTOCOL/DIRECTION/mAP.

    Numbers of single draws are left out; metrics.jsonl has them.
    """
    if isinstance(value, dict):
        for key, item in value.items():
            if key != "per_draw":
                yield from numbers(item, f"{name}/{key}" if name else str(key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            parts: tuple[str, ...] = (name, str(index))
            if isinstance(item, dict):
                parts = (name, str(item.get("protocol", index)), str(item.get("direction", "")))
            yield from numbers(item, "/".join(filter(None, parts)))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield name, value


def run_id(folder: Path) -> str:
    """An identifier made of the folder's path, so that a continued run stays one run in Weights & Biases, and
    of the number of runs that --no-resume replaced there.
    """
    parts = [part for part in folder.resolve().parts if part.isalnum() or "_" in part or "-" in part]
    replaced = len(list(folder.glob("replaced_*")))
    return "-".join([*parts, str(replaced)] if replaced else parts)[-100:]
