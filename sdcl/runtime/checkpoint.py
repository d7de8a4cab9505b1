"""Checkpoint files: written whole or not at all, with a checksum at the end; the previous one is kept."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
from pathlib import Path
from typing import Any

import torch

from sdcl.runtime.errors import CheckpointError, UserError, writing
from sdcl.runtime.files import atomic

LAST, PREVIOUS, UNFINISHED, DAMAGED = "last.pt", "previous.pt", "unfinished.pt", "damaged.pt"
MARK = b"\nsdcl-sha256:"  # and 64 hexadecimal digits follow what torch.save wrote; torch.load ignores them
WEIGHTS_HINT = "A file of weights alone is given to --pretrained instead"
ELSEWHERE = "change --logs-dir"


def save(folder: Path, name: str, state: dict[str, Any]) -> Path:
    """Write FOLDER/NAME: temporary file, flush to disk, rename. The last checkpoint becomes the previous one.

    Args:
        state: tensors and plain values.

    Raises:
        OutputError: the folder cannot be written; its files stay as they were.
    """
    target = folder / name
    buffer = io.BytesIO()
    torch.save(state, buffer)
    with atomic(target, ELSEWHERE) as part:
        with open(part, "wb") as file:
            file.write(buffer.getbuffer())
            file.write(MARK + hashlib.sha256(buffer.getbuffer()).hexdigest().encode())
            file.flush()
            os.fsync(file.fileno())  # a full disk shows here, while the last checkpoint is still in place
        if name == LAST and target.exists():
            _also_as(target, folder / PREVIOUS)  # the last one stays too, until the new one takes its name
    return target


def _also_as(path: Path, name: Path) -> None:
    """Give a file a second name: a hard link, or a copy where there are none."""
    part = name.with_name(f"{name.name}.{os.getpid()}.tmp")
    part.unlink(missing_ok=True)
    try:
        try:
            os.link(path, part)
        except OSError:
            shutil.copyfile(path, part)
        os.replace(part, name)
    finally:
        part.unlink(missing_ok=True)  # it stays if both were one file already


def keep_as(folder: Path, name: str, epoch: int) -> bool:
    """Copy the checkpoint of an epoch, the last or the previous one, to a name
    that later ones never overwrite.

    Returns:
        Whether one of the two is of that epoch and can be read; else nothing is copied.

    Raises:
        OutputError: as `save`.
    """
    for source in (folder / LAST, folder / PREVIOUS):
        try:
            found = load(source)["epoch"]
        except CheckpointError:
            continue
        if found == epoch:
            with atomic(folder / name, ELSEWHERE) as part:
                shutil.copyfile(source, part)
            return True
    return False


def put_back(folder: Path) -> None:
    """Where the last checkpoint is missing or unreadable, give the previous one its name as well: the next
    save would else make the previous one of what cannot be read. That file is kept as damaged.pt.

    Raises:
        OutputError: as `save`.
    """
    last, previous = folder / LAST, folder / PREVIOUS
    if not previous.exists():
        return
    try:
        load(last)
    except CheckpointError:
        with writing(str(last), ELSEWHERE):
            if last.exists():
                os.replace(last, folder / DAMAGED)
            _also_as(previous, last)


OUTDATED = (
    *(LAST, PREVIOUS, UNFINISHED, DAMAGED, "stage_*.pt"),
    *(
        "metrics.jsonl",
        "config.json",
        "environment.json",
        "test.*",
        "report.html",
        "trace.json",
        "tensorboard",
    ),
)


def set_aside(folder: Path) -> Path | None:
    """Move what a run left in its folder to a new folder `replaced_N` in it, for a run that starts anew.

    Returns:
        That folder, itself a run folder; None if there was no checkpoint.

    Raises:
        OutputError: as `save`.
    """
    if not any(path for pattern in OUTDATED if pattern.endswith(".pt") for path in folder.glob(pattern)):
        return None
    number = 1
    while (folder / f"replaced_{number}").exists():
        number += 1
    aside = folder / f"replaced_{number}"
    with writing(str(aside), ELSEWHERE):
        aside.mkdir()
        for pattern in OUTDATED:
            for path in folder.glob(pattern):
                os.replace(path, aside / path.name)
    return aside


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint of a run.

    Raises:
        CheckpointError: no such file, damaged, or not a run's.
    """
    state = read(path)
    if not {"model", "settings", "epoch"} <= state.keys():
        raise CheckpointError(f"{path} is no checkpoint of a run. {WEIGHTS_HINT}")
    return state


def read(path: Path) -> dict[str, Any]:
    """Read any file that `save` wrote; tensors and plain values only, no code is run.

    Raises:
        CheckpointError: no such file, or damaged.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise CheckpointError(f"no checkpoint at {path}; train first, or name the one you mean") from None
    except OSError as error:
        raise CheckpointError(f"checkpoint {path} cannot be read: {error.strerror}") from None
    payload, mark, digest = content.rpartition(MARK)
    if not mark:
        raise CheckpointError(
            f"{path} is damaged or no checkpoint of a run: it does not end with a checksum. {WEIGHTS_HINT}"
        )
    if hashlib.sha256(payload).hexdigest().encode() != digest:
        raise CheckpointError(f"checkpoint {path} is damaged: its checksum does not fit")
    try:
        state = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for what it does not want to read
        raise CheckpointError(f"checkpoint {path} cannot be read: {str(error).splitlines()[0]}") from None
    if not isinstance(state, dict):
        raise CheckpointError(f"{path} is no checkpoint of a run. {WEIGHTS_HINT}")
    return state


def latest(folder: Path) -> tuple[dict[str, Any] | None, str]:
    """The newest readable checkpoint of a run folder, None without any, and a note if it is not the last.

    Raises:
        CheckpointError: there are checkpoints, and none can be read.
    """
    errors: list[str] = []
    for name in (LAST, PREVIOUS):
        if (folder / name).exists():
            try:
                state = load(folder / name)
            except UserError as error:
                errors.append(str(error))
            else:
                return state, f"{errors[0]}; going back to {folder / name}" if errors else ""
    if errors:
        raise CheckpointError(
            f"no readable checkpoint in {folder}: {'; '.join(errors)}. Move the folder away to start anew; "
            "it also holds the log, and the ends of stages, which --pretrained reads"
        )
    return None, ""


def unfinished(folder: Path, epoch: int) -> tuple[dict[str, Any] | None, str]:
    """The state saved within `epoch`, None if there is none, and a note if it cannot be read."""
    if not (folder / UNFINISHED).exists():
        return None, ""
    try:
        state = load(folder / UNFINISHED)
    except UserError as error:
        return None, f"{error}; starting epoch {epoch} again"
    return (state, "") if state["epoch"] == epoch and "journal" in state else (None, "")


def forget_unfinished(folder: Path) -> None:
    """Remove the state saved within an epoch that is now finished."""
    (folder / UNFINISHED).unlink(missing_ok=True)
