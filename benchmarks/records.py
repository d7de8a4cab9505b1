"""Results of finished runs, one line of JSON each, kept beside the benchmark:
a table grows over days and machines.

A run counts for a table only if the row's flags, the shared settings and the pretrained weights are still
those it was made with.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

Run = dict[str, Any]
_writing = threading.Lock()


def conditions(settings: Path, weights: Path) -> str:
    """Digest of what all rows share: values of a JSON file, and the bytes of a weight file."""
    values = json.dumps(json.loads(settings.read_text()), sort_keys=True)
    return hashlib.sha256(values.encode() + weights.read_bytes()).hexdigest()[:12]


def read(file: Path) -> list[Run]:
    """The runs of a file; none if it does not exist.

    Raises:
        SystemExit: a line is no result.
    """
    runs: list[Run] = []
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    for number, line in enumerate(lines, 1):
        try:
            run = json.loads(line)
            missing = {"row", "seed", "flags", "conditions", "data"} - run.keys()
        except (ValueError, AttributeError) as error:
            raise SystemExit(f"{file}, line {number} cannot be read ({error}): mend or delete it") from None
        if missing:
            raise SystemExit(f"{file}, line {number} lacks {', '.join(sorted(missing))}: mend or delete it")
        runs.append(run)
    return runs


def find(runs: Iterable[Run], row: str, seed: int, flags: list[str], condition: str) -> Run | None:
    """The last run of a row and a seed under these flags and conditions."""
    wanted = {"row": row, "seed": seed, "flags": flags, "conditions": condition}
    return next((run for run in reversed(list(runs)) if run.items() >= wanted.items()), None)


def add(file: Path, run: Run) -> None:
    """Append a run.

    Raises:
        SystemExit: the runs of the file saw other training images.
    """
    with _writing:
        others = {kept["data"] for kept in read(file) if kept["conditions"] == run["conditions"]} - {
            run["data"]
        }
        if others:
            raise SystemExit(
                f"{file} holds runs on training images {', '.join(sorted(others))}, this one saw "
                f"{run['data']}: render the set again, or choose another --results"
            )
        with file.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(run) + "\n")


def described(folder: Path, metrics: Mapping[str, float]) -> Run:
    """Metrics in percent with what a run folder knows of the run:
    images, code, machine, seconds of its epochs.
    """
    environment = json.loads((folder / "environment.json").read_text())
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return {
        **{name: round(value, 2) for name, value in metrics.items()},
        "data": environment["data"],
        "commit": environment["commit"][:7],
        "torch": environment["torch"],
        "device": environment["device_name"],
        "seconds": round(sum(sum(row.get("seconds", {}).values()) for row in rows)),
        "date": datetime.date.today().isoformat(),
    }
