"""Files of a pretraining run: initial weights, checkpoint OUT.unfinished, final weights with metadata."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from sdcl.data.image_cache import content_fingerprint
from sdcl.data.normalization import IMAGENET, Normalization, to_metadata
from sdcl.models.vit import SingleStemViT
from sdcl.models.weight_files import read_weight_file
from sdcl.models.weight_formats import stated_normalization
from sdcl.models.weight_names import PRETRAINED_HERE, format_of
from sdcl.pretraining.settings import UNRECORDED, PretrainSettings
from sdcl.runtime import checkpoint
from sdcl.runtime.errors import CheckpointError, WeightError
from sdcl.runtime.files import atomic, printable


def load_initial(backbone: SingleStemViT, path: Path, chosen: Normalization | None = None) -> dict[str, Any]:
    """Load weights of an earlier pretraining, and their normalisation. Returns their
    metadata under the key "after".

    Args:
        chosen: what --mean and --std say; None without them.

    Raises:
        WeightError: the file cannot be read, is of another architecture or image size, or states another
            normalisation than the chosen one.
    """
    file = read_weight_file(path)
    tensors = {n: t.float() if t.is_floating_point() else t for n, t in file.tensors.items()}
    try:
        backbone.load_state_dict(tensors)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise WeightError(
            f"--init {printable(path)} does not fit --arch, --height and --width: {reason}"
        ) from None
    stated = stated_normalization(file)
    if stated and chosen and not chosen.close_to(stated):
        raise WeightError(
            f"--init {printable(path)} states pixels of {stated}, and --mean and --std say "
            f"{chosen}: leave --mean and --std out"
        )
    backbone.normalization = stated or chosen or format_of(file).normalization or IMAGENET
    about = file.metadata.get(PRETRAINED_HERE)
    return {"after": json.loads(about) if about else {"out": path.name}}


def recorded_settings(settings: PretrainSettings) -> dict[str, Any]:
    """The settings that a run must share with its checkpoint; folders of images by a fingerprint."""
    values = {name: value for name, value in asdict(settings).items() if name not in UNRECORDED}
    files = [
        os.path.join(path, name)
        for folder in settings.images
        for path, _, names in os.walk(folder)
        for name in names
    ]
    return {**values, "images": content_fingerprint(sorted(files)) if files else ""}


def metadata(settings: PretrainSettings) -> dict[str, Any]:
    """The settings that are stored with the weights, without paths of this machine."""
    values = {name: value for name, value in asdict(settings).items() if name not in UNRECORDED}
    names = {"out": Path(settings.out).name, "init": Path(settings.init).name, "images": len(settings.images)}
    return {**values, **names}


def save_checkpoint(
    out: Path, objective: nn.Module, optimizer: torch.optim.Optimizer, state: dict[str, Any]
) -> None:
    """Write OUT.unfinished. Raises OutputError."""
    contents = {**state, "objective": objective.state_dict(), "optimizer": optimizer.state_dict()}
    checkpoint.save(out.parent, f"{out.name}.unfinished", contents)


def resume(
    path: Path, state: dict[str, Any], objective: nn.Module, optimizer: torch.optim.Optimizer
) -> dict[str, Any]:
    """Load objective and optimiser from a checkpoint of the same command. Returns its state.

    Raises:
        CheckpointError: other settings or images, or a damaged file.
    """
    saved = checkpoint.read(path)
    saved_settings = {**asdict(PretrainSettings()), **saved.get("settings", {})}  # it may lack newer ones
    differing = [name for name, value in state["settings"].items() if saved_settings[name] != value]
    if differing or saved.get("crops") != state["crops"]:
        names = ", ".join(differing) or "images"
        message = f"{printable(path)} belongs to a run with other settings ({names})"
        raise CheckpointError(f"{message}; remove it, or choose another --out")
    objective.load_state_dict(saved["objective"])
    optimizer.load_state_dict(saved["optimizer"])
    print(f"continued from step {saved['step']} ({printable(path)})")
    return {name: saved[name] for name in state}


def write(model: SingleStemViT, out: Path, about: dict[str, Any]) -> None:
    """Write half-precision weights, their normalisation and metadata to a
    safetensors file. Raises OutputError.
    """
    state = model.state_dict()
    half = {n: t.cpu().half().contiguous() if t.is_floating_point() else t.cpu() for n, t in state.items()}
    with atomic(out) as part:
        save_file(
            half, part, metadata={PRETRAINED_HERE: json.dumps(about), **to_metadata(model.normalization)}
        )
    print(f"written: {out} ({out.stat().st_size / 2**20:.1f} MiB)\n{json.dumps(about, indent=2)}")
