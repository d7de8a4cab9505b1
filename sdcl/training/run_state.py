"""The state of a run as a checkpoint holds it, and whether a checkpoint is of the same experiment.

Random numbers need no state: each is a function of seed, epoch, stage and step (`sdcl.runtime.seeds`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from sdcl.analysis.label_churn import LabelChurn
from sdcl.config import Settings, flat
from sdcl.config.fields import flag_of
from sdcl.config.settings import fields_by_name, forgotten_values, known_values, resumable_names
from sdcl.data.normalization import KEY, Normalization, recorded
from sdcl.models.backbone import Backbone
from sdcl.runtime import checkpoint
from sdcl.runtime.errors import CheckpointError
from sdcl.training.epoch_journal import EpochJournal


def state_of(
    model: Backbone,
    optimizer: torch.optim.Optimizer,
    settings: Settings,
    *,
    epoch: int,
    rows: list[dict[str, Any]],
    data: str,
    churn: LabelChurn,
) -> dict[str, Any]:
    """Tensors and plain values of a run.

    Args:
        epoch: the one that is finished, or under way. rows: of metrics.jsonl. data: fingerprint of the
            training images.
    """
    return {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "epoch": epoch,
        "rows": rows,
        "settings": flat(settings),
        KEY: model.normalization.plain(),
        "data": data,
        "labels": churn.state(),
        "label_sets": churn.about,
    }


def saved_normalization(state: dict[str, Any]) -> Normalization:
    """Mean and deviation that the model of a state was trained with; ImageNet's in one of an earlier version.

    Raises:
        CheckpointError: the entry is not what `state_of` writes.
    """
    try:
        return recorded(state)
    except ValueError as error:
        raise CheckpointError(f"the checkpoint's normalisation cannot be used: {error}") from None


def save_epoch(folder: Path, state: dict[str, Any]) -> str:
    """Save the state after an epoch. The last checkpoint of a stage that has ended stays as stage_NAME.pt.

    Returns:
        A note if that checkpoint is not there any more.

    Raises:
        OutputError: the folder cannot be written.
    """
    stages, note = [row["stage"] for row in state["rows"][-2:]], ""
    if len(set(stages)) == 2:
        name, epoch = f"stage_{stages[0]}.pt", state["epoch"] - 1
        if not checkpoint.keep_as(folder, name, epoch):
            note = f"{folder} has no readable checkpoint of epoch {epoch} any more, so {name} is not written"
    checkpoint.save(folder, checkpoint.LAST, state)
    checkpoint.forget_unfinished(folder)
    return note


def save_unfinished(
    folder: Path, state: dict[str, Any], journal: EpochJournal, seconds: dict[str, float]
) -> Path:
    """Save the state within an epoch, with the journal of what the epoch has computed.

    Raises OutputError as `save_epoch`.
    """
    return checkpoint.save(folder, checkpoint.UNFINISHED, state | {"journal": journal.state(seconds)})


def newest_state(folder: Path) -> tuple[dict[str, Any] | None, list[str]]:
    """The state that a run continues from, None without any, and notes on files that could not be used.

    A state with "journal" is from within its epoch, any other from after it.

    Raises:
        CheckpointError: there are checkpoints, and none can be read.
    """
    finished, note = checkpoint.latest(folder)
    epoch = 0 if finished is None else finished["epoch"] + 1
    unfinished, unfinished_note = checkpoint.unfinished(folder, epoch)
    state, notes = unfinished or finished, [text for text in (note, unfinished_note) if text]
    forgotten = forgotten_values(state["settings"]) if state else {}
    for name, value in forgotten.items():
        notes.append(
            f"the checkpoint was made with {name} = {value!r}, a setting that this version does not have"
        )
    return state, notes


def continue_optimizer(optimizer: torch.optim.Optimizer, saved: dict[str, Any]) -> None:
    """Take over a saved optimiser's momentum, but not its options: weight decay, momentum and kernels are
    this run's, also where --resume-anyway changes them or a run moves to another device.

    Args:
        saved: `state_dict` of an optimiser of the same kind.
    """
    own = [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups]
    groups = [theirs | ours for theirs, ours in zip(saved["param_groups"], own, strict=True)]
    optimizer.load_state_dict({"state": saved["state"], "param_groups": groups})


def refuse_differences(state: dict[str, Any], settings: Settings, data: str) -> str:
    """Compare a checkpoint with the run that is to continue it.

    Args:
        data: fingerprint of the run's training images.

    Returns:
        What differs, one line each; "" if nothing does.

    Raises:
        CheckpointError: something that changes results differs, without --resume-anyway.
    """
    # A setting that the version of the checkpoint did not have is at the
    # default, which keeps to that version.
    defaults = {name: one.default for name, one in fields_by_name(settings.run.method).items()}
    now, saved = flat(settings), known_values(state["settings"])
    then, may_change = defaults | saved, resumable_names()
    if then["method"] != now["method"]:  # of the settings of another method nothing can be said
        now = {name: value for name, value in now.items() if name in saved}
    lines = [
        f"{flag_of(name)}: {then.get(name)!r} then, {value!r} now"
        for name, value in now.items()
        if name not in may_change and then.get(name) != value
    ]
    if state["data"] != data:
        lines.append(f"training images: {state['data']} then, {data} now")
    if lines and not settings.run.resume_anyway:
        raise CheckpointError(
            f"the checkpoint in {settings.run_dir} (epoch {state['epoch']}) was made with other settings:\n  "
            + "\n  ".join(lines)
            + "\nRun with those again, choose another --logs-dir, or continue all the same with "
            "--resume-anyway"
        )
    return "\n".join(lines)
