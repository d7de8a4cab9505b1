"""Read the files of a run folder as plain values.

Files may be missing, cut short or damaged; what could not be read is listed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sdcl.config import METHODS, fields_by_name
from sdcl.config.supervision import NO_LABELS, supervision
from sdcl.runtime.errors import UserError
from sdcl.runtime.files import printable

TRAINED = ("config.json", "metrics.jsonl", "environment.json")  # files of training
TESTED = "test.json"


@dataclass
class Record:
    """The files of one run folder.

    Args:
        folder: the run folder.
        name: its printable name; "EXPERIMENT/trial_N" for a trial.
        settings: {name: value} of config.json.
        environment: environment.json.
        rows: metrics.jsonl, one mapping per epoch, with an "epoch" each.
        results: rows of test.json, else of the last tested epoch. results_from: which of the two.
        notices: remarks on the images for readers of the page, from environment.json.
        missing: what could not be read, and why.
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

    @property
    def recipe(self) -> tuple[str, str]:
        """(method, data set)."""
        return str(self.settings.get("method", "?")), str(self.settings.get("dataset", "?"))

    @property
    def synthetic(self) -> bool | None:
        """Whether the images are synthetic; None: not known, as in run folders of older versions."""
        return _as_bool(self.environment.get("synthetic"))

    @property
    def complete(self) -> bool | None:
        """Whether the data set was complete; None: not known."""
        return _as_bool(self.environment.get("complete"))

    @property
    def supervision(self) -> str:
        """Such as "semi-supervised: visible identities"; "" if training read no identity."""
        recorded = self.environment.get("supervision")
        return str(recorded or supervision(str(self.settings.get("labels", NO_LABELS))))

    @property
    def status(self) -> str:
        """What readers must know of the method; "" if nothing."""
        return str(self.environment.get("status") or "")

    @property
    def comparable(self) -> bool:
        """Whether training saw the complete real data set for certain, and no identity of it; only then
        may published numbers stand beside the run.
        """
        return self.synthetic is False and self.complete is True and not self.supervision

    def tested(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """(epoch, result) of every test during training."""
        for row in self.rows:
            for result in results_in(row.get("test")):
                yield row["epoch"], result


def read_run(folder: Path) -> Record:
    """Read everything but the model and the images.

    Raises:
        UserError: there is no such folder, or it holds no file of a run.
    """
    if not _is_run(folder):
        raise UserError(
            f"{printable(folder)} is not a run folder: it holds none of {', '.join((*TRAINED, TESTED))}; "
            "name one that `sdcl train` wrote"
        )
    absolute = folder.absolute()
    name = f"{absolute.parent.name}/{absolute.name}" if absolute.name.startswith("trial_") else absolute.name
    record = Record(folder, printable(name))
    record.settings = _read_object(folder / "config.json", record.missing)
    record.environment = _read_object(folder / "environment.json", record.missing)
    record.rows = _read_rows(folder / "metrics.jsonl", record.missing)
    notices = record.environment.get("notices")
    record.notices = [str(n) for n in notices] if isinstance(notices, list) else []
    _read_results(record)
    return record


def notices_of(records: Sequence[Record]) -> list[str]:
    """What a reader must not overlook of several runs, each once: supervision, status of the method, remarks
    on the images.
    """
    notices = []
    for texts in ([r.supervision for r in records], [r.status for r in records]):
        for text in filter(None, dict.fromkeys(texts)):
            names = ", ".join(r.name for r, own in zip(records, texts, strict=True) if own == text)
            notices.append(f"{text[0].upper()}{text[1:]}." if len(set(texts)) == 1 else f"{names}: {text}.")
    notices += dict.fromkeys(notice for record in records for notice in record.notices)
    unknown = [r.name for r in records if r.environment and None in (r.synthetic, r.complete)]
    if unknown:
        names = ", ".join(unknown)
        notices.append(
            f"It is not known whether the images were real and complete; an older version wrote {names}."
        )
    return notices


def use_of_identities(record: Record) -> str:
    """What training and the page read of the identities of training images, for the foot of a page."""
    if record.supervision:
        return (
            f"{record.supervision.capitalize()} were read by training; all others are used on this page only."
        )
    return "Identities of training images are used on this page only; training never reads them."


def trial_folders(folder: Path) -> list[Path]:
    """The run folders trial_1, trial_2, ... by their number; none if `folder` is a run itself."""
    if any((folder / name).is_file() for name in TRAINED):
        return []
    trials = [f for f in folder.glob("trial_*") if f.name[6:].isdecimal() and _is_run(f)]
    return sorted(trials, key=lambda f: int(f.name[6:]))


def as_number(value: object) -> float:
    """A value of a row as a number; NaN if it is not one."""
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else math.nan


def percent(value: object) -> str:
    """A value of a results table with the two digits of the papers."""
    return f"{as_number(value):.2f}" if math.isfinite(as_number(value)) else "–"


def as_mapping(value: object) -> dict[str, Any]:
    """A value of a row as a mapping; empty if it is not one."""
    return {str(k): v for k, v in value.items()} if isinstance(value, dict) else {}


def results_in(value: object) -> list[dict[str, Any]]:
    """The entries that are rows of a results table."""
    return (
        [r for r in value if isinstance(r, dict) and isinstance(r.get("protocol"), str)]
        if isinstance(value, list)
        else []
    )


def stage_name(row: Mapping[str, Any]) -> str:
    stage = row.get("stage", "")
    return " + ".join(map(str, stage)) if isinstance(stage, (list, tuple)) else str(stage)


def changed_settings(settings: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """name -> (value, field default) where the two differ; settings unknown to this version have no
    default.
    """
    method = settings.get("method")
    fields = fields_by_name(method if method in METHODS else None)
    # config.json holds lists where fields have tuples
    known = {n: list(f.default) if isinstance(f.default, tuple) else f.default for n, f in fields.items()}
    return {
        n: (v, known.get(n, "unknown to this version"))
        for n, v in settings.items()
        if n not in known or known[n] != v
    }


def _is_run(folder: Path) -> bool:
    return any((folder / name).is_file() for name in (*TRAINED, TESTED))


def _as_bool(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


def _read_text(path: Path, missing: list[str]) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        missing.append(f"{path.name} cannot be read: {error.strerror}")
        return ""


def _read_object(path: Path, missing: list[str]) -> dict[str, Any]:
    text = _read_text(path, missing)
    try:
        return as_mapping(json.loads(text)) if text else {}
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
        if isinstance(row, dict) and math.isfinite(as_number(row.get("epoch"))):
            rows.append({str(k): v for k, v in row.items()})
        elif line.strip():
            missing.append(f"metrics.jsonl, line {count}, is not the row of an epoch and was left out")
    return rows


def _read_results(record: Record) -> None:
    path = record.folder / TESTED
    if path.is_file():
        try:
            record.results = results_in(json.loads(path.read_text(encoding="utf-8")))
            record.results_from = "test.json (sdcl test)"
        except (OSError, ValueError) as error:
            record.missing.append(f"test.json cannot be used: {error}")
    epochs = {row["epoch"] for row in record.results if "epoch" in row}  # files of version 0.2 do not say
    last = record.rows[-1]["epoch"] if record.rows else None
    if last is not None and epochs - {last}:
        record.missing.append(
            f"test.json is of epoch {', '.join(map(str, sorted(epochs)))} and the run has come to epoch "
            f"{last}, so its results are left out; run `sdcl test` again"
        )
        record.results, record.results_from = [], ""
    if not record.results:
        tested = [row for row in record.rows if results_in(row.get("test"))]
        if tested:
            record.results = results_in(tested[-1]["test"])
            record.results_from = f"the test after epoch {tested[-1]['epoch']}"
