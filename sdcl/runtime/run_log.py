"""What a run tells: lines and a table for a person, config.json, environment.json and metrics.jsonl for programs."""

from __future__ import annotations

import json
import platform
import subprocess
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from sdcl.runtime.errors import OutputError, writing
from sdcl.runtime.files import write_text

COLUMNS = ("epoch", "stage", "lr", "clusters v/i", "outliers v/i", "linked", "loss", "R1", "mAP", "seconds embed/cluster/train/test")


class RunLog:
    """Lines to the terminal and to log.txt; silent on all processes but the main one."""

    def __init__(self, folder: Path, main: bool):
        self.folder, self.main = folder, main
        self.rows: list[dict[str, Any]] = []
        if main:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                (folder / "log.txt").open("a").close()
            except OSError as error:
                raise OutputError(f"run folder {folder} cannot be written: {error.strerror}; choose another with --logs-dir") from None

    def line(self, text: str) -> None:
        if not self.main:
            return
        tqdm.write(text)
        with writing(self.folder / "log.txt"), (self.folder / "log.txt").open("a", encoding="utf-8") as file:
            file.write(text + "\n")

    def write_json(self, name: str, value: Any) -> None:
        if self.main:
            write_text(self.folder / name, json.dumps(value, indent=2) + "\n")

    def restore(self, rows: list[dict[str, Any]]) -> None:
        """Take over the rows of the epochs that a checkpoint holds; later lines of metrics.jsonl are forgotten."""
        self.rows = list(rows)
        self._write_rows()

    def epoch(self, row: dict[str, Any]) -> None:
        """Add an epoch to metrics.jsonl and to the table."""
        self.rows.append(row)
        self._write_rows()
        if len(self.rows) % 20 == 1:
            self.line(_table_line(COLUMNS))
        self.line(_table_line(_cells(row)))

    def _write_rows(self) -> None:
        if self.main:
            write_text(self.folder / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in self.rows))


def environment(device: torch.device, processes: int, data: str) -> dict[str, Any]:
    """Versions, commit, hardware and data of a run."""
    import numpy
    import sklearn
    import timm
    import torchvision

    commit = subprocess.run(
        ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    versions = {m.__name__: m.__version__ for m in (torch, torchvision, timm, numpy, sklearn)}
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    return {
        "python": platform.python_version(), **versions, "commit": commit or "not a git checkout",
        "device": str(device), "device_name": name, "processes": processes, "data": data,
    }  # fmt: skip


def _cells(row: dict[str, Any]) -> list[str]:
    labels, seconds = row["labels"], row["seconds"]
    pair = [labels["visible"], labels["infrared"]]
    linked = labels.get("visible_associated")
    metrics = row.get("test") or []
    return [
        str(row["epoch"]), row["stage"], f"{row['lr']:.1e}",
        "/".join(str(p["clusters"]) for p in pair), "/".join(str(p["outliers"]) for p in pair),
        str(linked["clusters"]) if linked else "-", f"{row['loss']:.4f}",
        f"{metrics[0]['R1']:.2f}" if metrics else "-", f"{metrics[0]['mAP']:.2f}" if metrics else "-",
        "/".join(f"{seconds[k]:.0f}" for k in ("embed", "cluster", "train", "test")),
    ]  # fmt: skip


def _table_line(cells: Any) -> str:
    widths = (5, 10, 7, 12, 12, 6, 8, 6, 6, 10)
    return "  ".join(str(c).rjust(w) for c, w in zip(cells, widths))
