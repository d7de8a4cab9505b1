"""Log of a run: console table, log.txt, metrics.jsonl, config.json and environment.json."""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from sdcl.runtime.errors import OutputError, writing
from sdcl.runtime.files import printable, write_text

COLUMNS = {  # of the table, with their widths
    "epoch": 5,
    "stage": 10,
    "lr": 7,
    "clusters v/i": 12,
    "outliers v/i": 12,
    "linked": 6,
    "loss": 8,
    "R1": 6,
    "mAP": 6,
    "seconds embed/cluster/train/test": 10,
}
HEADER_EVERY = 20  # epochs


class RunLog:
    """Writes into the run folder and to the console.

    Args:
        main: whether this is the main process; the others write nothing.

    Raises:
        OutputError: the folder cannot be written.
    """

    def __init__(self, folder: Path, main: bool):
        self.folder, self.main = folder, main
        self.rows: list[dict[str, Any]] = []  # of metrics.jsonl, one per finished epoch
        self._without_header = True  # a program that continues a run begins its table anew
        if main:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                (folder / "log.txt").open("a").close()
            except OSError as error:
                raise OutputError(
                    f"run folder {folder} cannot be written: {error.strerror}; choose another with --logs-dir"
                ) from None

    def line(self, text: str) -> None:
        """Append a line to log.txt, and print it above a progress bar."""
        if not self.main:
            return
        tqdm.write(text)
        with (
            writing(printable(self.folder / "log.txt")),
            (self.folder / "log.txt").open("a", encoding="utf-8") as file,
        ):
            file.write(text + "\n")

    def write_json(self, name: str, value: Any) -> None:
        """Write a file of the run folder."""
        if self.main:
            write_text(self.folder / name, json.dumps(value, indent=2) + "\n")

    def restore(self, rows: list[dict[str, Any]]) -> None:
        """Continue after the epochs that a checkpoint holds; later rows of metrics.jsonl are dropped."""
        self.rows = list(rows)
        self._write_rows()

    def epoch(self, row: dict[str, Any]) -> None:
        """Add an epoch to metrics.jsonl and to the table."""
        self.rows.append(row)
        self._write_rows()
        if self._without_header or len(self.rows) % HEADER_EVERY == 1:
            self.line(_table_line(list(COLUMNS)))
            self._without_header = False
        self.line(_table_line(_cells(row)))

    def _write_rows(self) -> None:
        if self.main:
            text = "".join(json.dumps(row) + "\n" for row in self.rows)
            write_text(self.folder / "metrics.jsonl", text)


def environment(device: torch.device, processes: int, data: str) -> dict[str, Any]:
    """Versions, commit and hardware of a run, and the fingerprint of its training images."""
    import numpy
    import timm
    import torchvision

    versions = {m.__name__: m.__version__ for m in (torch, torchvision, timm, numpy)}
    versions["sklearn"] = version("scikit-learn")  # without its import, which takes most of a second
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    return {
        "python": platform.python_version(),
        **versions,
        "commit": _commit() or "not a git checkout",
        "device": str(device),
        "device_name": gpu or platform.processor() or platform.machine(),
        "processes": processes,
        "data": data,
    }


def _commit() -> str:
    """The commit of the package's checkout; "" without one, or without git."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        return ""


def _cells(row: dict[str, Any]) -> list[str]:
    """Cells of an epoch's line of the table, in the order of `COLUMNS`."""
    labels, seconds, results = row["labels"], row["seconds"], row.get("test")
    pair = [labels.get(modality, {}) for modality in ("visible", "infrared")]
    associated = labels.get("visible_associated") or labels.get("infrared_associated")
    return [
        str(row["epoch"]),
        row["stage"],
        f"{row['lr']:.1e}",
        "/".join(str(p.get("clusters", "-")) for p in pair),
        "/".join(str(p.get("outliers", "-")) for p in pair),
        str(associated["clusters"]) if associated else "-",
        f"{row['loss']:.4f}",
        f"{results[0]['R1']:.2f}" if results else "-",
        f"{results[0]['mAP']:.2f}" if results else "-",
        "/".join(f"{seconds[phase]:.0f}" for phase in ("embed", "cluster", "train", "test")),
    ]


def _table_line(cells: Sequence[str]) -> str:
    return "  ".join(cell.rjust(width) for cell, width in zip(cells, COLUMNS.values(), strict=True))
