"""The network that a run starts from: pretrained weights, or the end of a
stage of another run (--from-run).
"""

from __future__ import annotations

from pathlib import Path

from sdcl.config import Settings, flat
from sdcl.config.fields import flag_of
from sdcl.config.registry import method_class
from sdcl.datasets import source_of
from sdcl.inference.trained_model import TrainedModel
from sdcl.models.backbone import Backbone
from sdcl.models.pretrained import chosen_normalization, model_of, prepare_blocks, pretrained_model
from sdcl.runtime.errors import CheckpointError, SettingError, UserError
from sdcl.training import run_state

SAME = ("arch", "shallow", "height", "width", "dataset")  # settings of both runs


def initial_model(settings: Settings, data: str = "") -> tuple[Backbone, str]:
    """Build the network that training starts from, on the CPU.

    A run that continues does not need the run that it once started from: its own checkpoint is loaded later.

    Args:
        data: fingerprint of the training images; "": those of the two runs are not compared.

    Returns:
        The network, and lines for the log that say what was loaded.

    Raises:
        CheckpointError: --from-run names no run, or one that cannot be this run's start.
        SettingError, WeightError: see `pretrained_model`.
    """
    refuse_replaced_start(settings)
    method, stage = getattr(method_class(settings.run.method), "starts_from", ("", ""))
    if not (settings.model.from_run and method):
        return pretrained_model(settings)
    model = model_of(settings)
    prepare_blocks(model, settings)
    state = run_state.newest_state(settings.run_dir)[0] if settings.run.resume else None
    if state is not None:
        before, chosen = run_state.saved_normalization(state), chosen_normalization(settings)
        model.normalization = before if chosen is None or chosen.close_to(before) else chosen
        return model, f"the checkpoint in {settings.run_dir} goes before --from-run {settings.model.from_run}"
    source = end_of_stage(settings, method, stage, data)
    model.load_state_dict(source.model.state_dict())
    model.normalization = source.normalization
    planned = source.settings.optim.epochs
    return model, f"weights of {source.path} after epoch {source.epoch} of {planned} (--from-run)"


def refuse_replaced_start(settings: Settings) -> None:
    """Refuse to begin from a file that --no-resume would move away.

    Raises:
        SettingError: naming the flag.
    """
    model, folder = settings.model, settings.run_dir.resolve()
    if settings.run.resume:
        return
    for flag, named in (("--pretrained", model.pretrained), ("--from-run", model.from_run)):
        if named and Path(named).exists() and folder in (Path(named).resolve(), Path(named).resolve().parent):
            raise SettingError(
                f"{flag} {named} is of the run in {settings.run_dir}, which --no-resume replaces: choose "
                "another --logs-dir"
            )


def end_of_stage(settings: Settings, method: str, stage: str, data: str) -> TrainedModel:
    """The model that --from-run means: at the end of the stage, or the last one of a run that has no other.

    Args:
        method, stage: what the run must be of. data: as in `initial_model`.

    Raises:
        CheckpointError: no such run, or not of this method, stage, network or data.
    """
    folder = run_folder(settings)
    kept = folder / f"stage_{stage}.pt"
    what = f"--from-run {settings.model.from_run}"
    if not folder.is_dir():
        raise CheckpointError(f"{what} is no folder; name a run folder of --method {method}")
    try:
        source = TrainedModel.open(kept if kept.exists() else folder)
    except UserError as error:
        raise CheckpointError(f"{what}: {error}") from None
    lines = _differences(settings, source, method, data)
    last = source.rows[-1]["stage"] if source.rows else "unknown"
    if not lines and last != stage:
        lines = [
            f"there is no {kept.name}, and epoch {source.epoch}, its last, is "
            f"of stage {last!r}, not {stage!r}"
        ]
    if lines:
        raise CheckpointError(
            f"{what}: {source.path} cannot be the start of this run:\n  "
            + "\n  ".join(lines)
            + f"\nName a run of --method {method} with the same network on the same training images that has "
            f"its stage {stage!r}, or start from a weight file with --pretrained"
        )
    return source


def run_folder(settings: Settings) -> Path:
    """The folder that --from-run means: of a data set with trials the trial's, if there is one below it."""
    folder = Path(settings.model.from_run)
    trial = folder / f"trial_{settings.data.trial}"
    return trial if source_of(settings.data.dataset).trials and trial.is_dir() else folder


def _differences(settings: Settings, source: TrainedModel, method: str, data: str) -> list[str]:
    """A line for each thing that must be the same and is not."""
    there, here = flat(source.settings), flat(settings)
    names = (*SAME, "trial") if source_of(settings.data.dataset).trials else SAME
    lines = [
        f"{flag_of(name)}: {there[name]} there, {here[name]} here"
        for name in names
        if there[name] != here[name]
    ]
    if there["method"] != method:
        lines.insert(0, f"it is a run of --method {there['method']}, and --method {method} is needed")
    if there["labels"] not in ("none", here["labels"]):  # this run would not say that it had read identities
        lines.append(f"--labels: {there['labels']} there, {here['labels']} here")
    chosen = chosen_normalization(settings)
    if chosen and not chosen.close_to(source.normalization):
        lines.append(f"pixels: {source.normalization} there, {chosen} (--mean and --std) here")
    if there["method"] == method and data and source.data != data:
        lines.append(f"training images: {source.data} there, {data} here")
    return lines
