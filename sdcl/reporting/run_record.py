"""What a run folder's files say, as plain values. Files may be missing, cut short or foreign: what could not be read is said."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sdcl.config.settings import fields_by_name
from sdcl.runtime.errors import UserError

FILES = ("config.json", "metrics.jsonl", "environment.json", "log.txt")  # of training
TESTED = "test.json"


@dataclass
class Record:
    """A run as its folder tells it.

    Args:
        name: what to call it. settings: {name: value} of config.json. rows: of metrics.jsonl, one per epoch, with an "epoch" each.
        results: rows of test.json, else of the last epoch that was tested. results_from: which of these.
        notices: what the run said of its data, such as that it is synthetic. missing: what could not be read, and why.
    """

    folder: Path
    name: str
    settings: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    results: list[dict[str, Any]] = field(default_factory=list)
    results_from: str = ""
    notices: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    has_log: bool = False

    @property
    def recipe(self) -> tuple[str, str]:
        return str(self.settings.get("method", "?")), str(self.settings.get("dataset", "?"))

    @property
    def real_data(self) -> bool:
        """Whether the log vouches that the data are the real, complete ones."""
        return self.has_log and not any(" is synthetic " in n or " is incomplete" in n for n in self.notices)

    def tested(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """(epoch, result) of every test during training."""
        for row in self.rows:
            for result in results_in(row.get("test")):
                yield row["epoch"], result


def read(folder: Path) -> Record:
    """Everything but the model and the images.

    Raises:
        ValueError: there is no such folder, or it holds nothing of a run.
    """
    if not any((folder / name).is_file() for name in (*FILES, TESTED)):
        raise UserError(f"{folder} is no run folder: it holds none of {', '.join((*FILES, TESTED))}")
    whole = folder.absolute()
    name = f"{whole.parent.name}/{whole.name}" if whole.name.startswith("trial_") else whole.name
    record = Record(folder, name)
    record.settings = _read_object(folder / "config.json", record.missing)
    record.environment = _read_object(folder / "environment.json", record.missing)
    record.rows = _read_rows(folder / "metrics.jsonl", record.missing)
    record.notices, record.has_log = _read_notices(folder / "log.txt", record.missing)
    _read_results(record)
    return record


def trials_in(folder: Path) -> list[Path]:
    """The runs trial_1, trial_2, ... in a folder that is no run itself, by their number."""
    if any((folder / name).is_file() for name in FILES):
        return []
    found = [f for f in folder.glob("trial_*") if f.name[6:].isdecimal() and any((f / name).is_file() for name in (*FILES, TESTED))]
    return sorted(found, key=lambda f: int(f.name[6:]))


def number(value: object) -> float:
    """A value of a row as a number; NaN where it is none."""
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else math.nan


def percent(value: object) -> str:
    """A value of a results table, with the papers' two digits."""
    return f"{number(value):.2f}" if math.isfinite(number(value)) else "–"


def mapping(value: object) -> dict[str, Any]:
    return {str(k): v for k, v in value.items()} if isinstance(value, dict) else {}


def results_in(value: object) -> list[dict[str, Any]]:
    """The entries that are rows of a results table."""
    return [r for r in value if isinstance(r, dict) and isinstance(r.get("protocol"), str)] if isinstance(value, list) else []


def stage_name(row: dict[str, Any]) -> str:
    stage = row.get("stage", "")
    return " + ".join(map(str, stage)) if isinstance(stage, (list, tuple)) else str(stage)


def changed_settings(settings: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """name -> (value, field default), where they differ; a setting that this version does not know has no default."""
    known = {name: one.default for name, (_, one, _) in fields_by_name().items()}
    return {n: (v, known.get(n, "unknown to this version")) for n, v in settings.items() if n not in known or known[n] != v}


def _read_text(path: Path, missing: list[str]) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        missing.append(f"{path.name} cannot be read: {error.strerror}")
        return ""


def _read_object(path: Path, missing: list[str]) -> dict[str, Any]:
    text = _read_text(path, missing)
    try:
        return mapping(json.loads(text)) if text else {}
    except ValueError as error:
        missing.append(f"{path.name} is damaged: {error}")
        return {}


def _read_rows(path: Path, missing: list[str]) -> list[dict[str, Any]]:
    rows = []
    for count, line in enumerate(_read_text(path, missing).splitlines(), start=1):
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if isinstance(row, dict) and math.isfinite(number(row.get("epoch"))):
            rows.append({str(k): v for k, v in row.items()})
        elif line.strip():
            missing.append(f"metrics.jsonl, line {count}, is no row of an epoch and was left out")
    return rows


def _read_notices(path: Path, missing: list[str]) -> tuple[list[str], bool]:
    text = _read_text(path, missing)
    lines = [line.removeprefix("note: ") for line in text.splitlines() if line.startswith("note: ")]
    return list(dict.fromkeys(lines)), bool(text)


def _read_results(record: Record) -> None:
    path = record.folder / TESTED
    if path.is_file():
        try:
            record.results = results_in(json.loads(path.read_text(encoding="utf-8")))
            record.results_from = "test.json (python -m sdcl.test)"
        except (OSError, ValueError) as error:
            record.missing.append(f"test.json cannot be used: {error}")
    if not record.results:
        tested = [row for row in record.rows if results_in(row.get("test"))]
        if tested:
            record.results = results_in(tested[-1]["test"])
            record.results_from = f"the test after epoch {tested[-1]['epoch']}"
