"""The model a run starts from: architecture plus starting weight."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn
from torchvision.models import ResNet50_Weights

from sdcl.config.settings import Settings
from sdcl.models.backbone import Backbone
from sdcl.models.factory import build_model
from sdcl.models.vit import DualBranchViT
from sdcl.models.weight_formats import load_weights
from sdcl.runtime.errors import WeightError

ASSETS = Path(__file__).parent.parent / "assets"
# What --pretrained auto means, and where such a file comes from.
STARTING_WEIGHTS = {
    "vit_base": (Path("weights/vit_base_ics_cfs_lup.pth"), "TransReID-SSL publishes it as ViT-B/16+ICS (self-supervised, LUPerson)"),
    "vit_small": (Path("weights/vit_small_ics_cfs_lup.pth"), "TransReID-SSL publishes it as ViT-S/16+ICS (self-supervised, LUPerson)"),
    "vit_mini": (ASSETS / "vit_mini.safetensors", "it comes with this package"),
    "resnet50": (Path("weights/resnet50-19c8e357.pth"), "torchvision publishes it (ImageNet); --pretrained torchvision fetches it"),
}
STARTING_WEIGHTS["resnet50_nl"] = STARTING_WEIGHTS["resnet50"]


def model_of(settings: Settings) -> Backbone:
    """The model that the settings describe, with random weights, on the CPU."""
    own, data = settings.model, settings.data
    branches = ("deep", "shallow") if own.shallow else ("deep",)
    return build_model(own.arch, height=data.height, width=data.width, drop_path=own.drop_path, branches=branches)


def starting_model(settings: Settings) -> tuple[nn.Module, str]:
    """The model on the CPU, and lines that say what was loaded.

    Raises:
        ValueError: unknown architecture, missing weight file, or one that fits too little.
    """
    own, model = settings.model, model_of(settings)
    prepare_blocks(model, settings)
    lacking = own.shallow and "shallow" not in model.branches
    note = f"note: --arch {own.arch} has no shallow branch; training the deep feature alone\n" if lacking else ""
    if own.pretrained == "none":
        return model, note + "starting from random weights (--pretrained none): expect clusters of cameras, not of people"
    if own.pretrained == "torchvision":
        path = _from_torchvision(own.arch)
    else:
        path = _starting_file(own.arch) if own.pretrained == "auto" else Path(own.pretrained)
    if not path.is_file():
        source = STARTING_WEIGHTS.get(own.arch, (None, ""))[1]
        raise WeightError(
            f"no starting weight at {path} for --arch {own.arch}"
            + (f" ({source})" if source else "")
            + "; put it there, name another file with --pretrained FILE, or say --pretrained none to start from random weights"
        )
    return model, note + load_weights(model, path, min_share=own.min_loaded).summary()


def prepare_blocks(model: nn.Module, settings: Settings) -> None:
    """--recompute and --compile. ValueError for a model without transformer blocks."""
    if not (settings.run.recompute or settings.run.compile):
        return
    if not isinstance(model, DualBranchViT):
        raise WeightError(f"--recompute and --compile are for ViTs, not for --arch {settings.model.arch}; leave them out")
    model.recompute = settings.run.recompute
    if settings.run.compile:
        for block in model.blocks:  # one by one: what lies around them changes with the epoch
            block.compile()


def _from_torchvision(arch: str) -> Path:
    """The ImageNet weight that torchvision's own loader keeps in its cache, fetched if it is not there yet."""
    if arch not in ("resnet50", "resnet50_ibn", "resnet50_nl"):
        raise WeightError(
            f"--pretrained torchvision is for --arch resnet50, resnet50_ibn and resnet50_nl, not {arch}; name a file instead"
        )
    weights = ResNet50_Weights.IMAGENET1K_V1
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(weights.url).name
    if not path.is_file():
        try:
            weights.get_state_dict(progress=True, check_hash=True)
        except (OSError, RuntimeError) as error:
            raise WeightError(f"--pretrained torchvision: {weights.url} cannot be fetched ({error}); put the file at {path}") from None
    return path


def _starting_file(arch: str) -> Path:
    if arch not in STARTING_WEIGHTS:
        raise WeightError(f"--arch {arch} has no starting weight of its own; name a file with --pretrained FILE, or say --pretrained none")
    return STARTING_WEIGHTS[arch][0]
