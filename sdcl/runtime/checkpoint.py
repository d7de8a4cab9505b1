"""The state of a run on disk: written whole or not at all, with a checksum at the end, the previous one kept."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
from pathlib import Path
from typing import Any

import torch

from sdcl.config.settings import Settings, flat, known_values, resumable_names
from sdcl.runtime.errors import CheckpointError, UserError
from sdcl.runtime.files import atomic

LAST, PREVIOUS, UNFINISHED = "last.pt", "previous.pt", "unfinished.pt"
MARK = b"\nsdcl-sha256:"  # and 64 hexadecimal digits, behind what torch.save wrote; torch.load does not mind
ELSE = "A file of weights only is given to --pretrained instead"
REMEDY = "free space or change --logs-dir, then run again"


def save(folder: Path, name: str, state: dict[str, Any]) -> Path:
    """Write `state` under `name`: temporary file, fsync, rename. A file of that name becomes the previous one if it is the last.

    Raises:
        OutputError: the folder cannot be written; what was there stays as it was.
    """
    target = folder / name
    written = io.BytesIO()
    torch.save(state, written)
    with atomic(target, REMEDY) as part:
        with open(part, "wb") as file:
            file.write(written.getbuffer())
            file.write(MARK + hashlib.sha256(written.getbuffer()).hexdigest().encode())
        if name == LAST and target.exists():
            os.replace(target, folder / PREVIOUS)
    return target


def keep_as(folder: Path, name: str) -> None:
    """A copy of the last checkpoint under a name that stays, such as that of the stage it ended."""
    with atomic(folder / name, REMEDY) as part:
        shutil.copyfile(folder / LAST, part)


def load(path: Path) -> dict[str, Any]:
    """A checkpoint of a run that `save` wrote.

    Raises:
        ValueError: no such file, damaged, or not one of ours.
    """
    state = read(path)
    if not {"model", "settings", "epoch"} <= state.keys():
        raise CheckpointError(f"{path} is no checkpoint of a run. {ELSE}")
    return state


def read(path: Path) -> dict[str, Any]:
    """Whatever `save` wrote; tensors and plain values only.

    Raises:
        ValueError: no such file, or damaged.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise CheckpointError(f"no checkpoint at {path}; train first, or name the one you mean") from None
    except OSError as error:
        raise CheckpointError(f"checkpoint {path} cannot be read: {error.strerror}") from None
    payload, mark, digest = content.rpartition(MARK)
    if not mark:
        raise CheckpointError(f"{path} is damaged or no checkpoint of a run: it does not end with a checksum. {ELSE}")
    if hashlib.sha256(payload).hexdigest().encode() != digest:
        raise CheckpointError(f"checkpoint {path} is damaged: its checksum does not fit")
    try:
        state = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for what it does not want to read
        raise CheckpointError(f"checkpoint {path} cannot be read: {str(error).splitlines()[0]}") from None
    if not isinstance(state, dict):
        raise CheckpointError(f"{path} is no checkpoint of a run. {ELSE}")
    return state


def latest(folder: Path) -> tuple[dict[str, Any] | None, str]:
    """The newest readable checkpoint of a run folder, and a sentence when it is not the last one written."""
    said = ""
    for name in (LAST, PREVIOUS):
        if (folder / name).exists():
            try:
                return load(folder / name), said
            except UserError as error:
                said = f"{error}; going back to {folder / PREVIOUS}"
    if said:
        raise CheckpointError(f"no readable checkpoint in {folder}: {said}. Remove the folder to start anew")
    return None, said


def unfinished(folder: Path, epoch: int) -> tuple[dict[str, Any] | None, str]:
    """The state saved within `epoch`, if a signal ended the run there, and a sentence when it is there but cannot be read."""
    if not (folder / UNFINISHED).exists():
        return None, ""
    try:
        state = load(folder / UNFINISHED)
    except UserError as error:
        return None, f"{error}; starting epoch {epoch} again"
    return (state, "") if state["epoch"] == epoch and "journal" in state else (None, "")


def forget_unfinished(folder: Path) -> None:
    (folder / UNFINISHED).unlink(missing_ok=True)


def refuse_differences(state: dict[str, Any], settings: Settings, data_fingerprint: str, anyway: bool) -> str:
    """Compare a checkpoint with the run that wants to continue it.

    Returns:
        What differs, one line each ("" if nothing does).

    Raises:
        ValueError: something that changes results differs and --resume-anyway was not said.
    """
    now, then = flat(settings), known_values(state["settings"])
    lines = [f"--{n.replace('_', '-')}: {then.get(n)!r} then, {v!r} now" for n, v in now.items() if n not in resumable_names() and then.get(n) != v]
    if state["data"] != data_fingerprint:
        lines.append(f"training images: {state['data']} then, {data_fingerprint} now")
    if lines and not anyway:
        raise CheckpointError(
            f"the checkpoint in {settings.run_dir} (epoch {state['epoch']}) was made with other settings:\n  "
            + "\n  ".join(lines)
            + "\nRun with those again, choose another --logs-dir, or continue all the same with --resume-anyway"
        )
    return "\n".join(lines)
