"""Build the network that a run's settings describe, and fill it with pretrained weights."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn
from torchvision.models import ResNet50_Weights

from sdcl.config import Settings
from sdcl.data.normalization import IMAGENET, Normalization
from sdcl.models.backbone import Backbone
from sdcl.models.factory import build_model
from sdcl.models.vit import DualBranchViT
from sdcl.models.weight_files import CONFIGS
from sdcl.models.weight_formats import LoadReport, load_weights
from sdcl.runtime.errors import SettingError, WeightError

ASSETS = Path(__file__).parent.parent / "assets"
TRANSREID_SSL = "TransReID-SSL (https://github.com/damo-cv/TransReID-SSL)"
# Architecture -> the file that `--pretrained auto` means, and its source.
PRETRAINED_WEIGHTS = {
    "vit_base": (
        Path("weights/vit_base_ics_cfs_lup.pth"),
        f"{TRANSREID_SSL} publishes it as ViT-B/16+ICS, self-supervised on LUPerson",
    ),
    "vit_small": (
        Path("weights/vit_small_ics_cfs_lup.pth"),
        f"{TRANSREID_SSL} publishes it as ViT-S/16+ICS, self-supervised on LUPerson",
    ),
    "vit_mini": (ASSETS / "vit_mini.safetensors", "it comes with this package"),
    "vit_mini_hybrid": (ASSETS / "vit_mini_hybrid_identity.safetensors", "it comes with this package"),
    "resnet50": (
        Path("weights/resnet50-19c8e357.pth"),
        "torchvision publishes it (ImageNet); --pretrained torchvision downloads its weights",
    ),
}
RESNETS = ("resnet50", "resnet50_ibn", "resnet50_nl")  # ImageNet's ResNet-50, and what the released code adds
PRETRAINED_WEIGHTS |= dict.fromkeys(RESNETS, PRETRAINED_WEIGHTS["resnet50"])
PRETRAINED_WEIGHTS |= {
    f"dinov2_{size}{registers and '_reg'}": (
        Path(f"weights/dinov2_vit{size[0]}14{registers}_pretrain.pth"),
        "DINOv2 (https://github.com/facebookresearch/dinov2, Apache-2.0) publishes it",
    )
    for size in ("small", "base", "large")
    for registers in ("", "_reg4")
}
PRETRAINED_WEIGHTS["clip_base"] = (
    Path("weights/ViT-B-16_tensors.pth"),
    "OpenAI (https://github.com/openai/CLIP, MIT) publishes ViT-B-16.pt, a TorchScript archive; "
    "docs/weights.md says how its tensors are written",
)


def model_of(settings: Settings) -> Backbone:
    """Build the network that the settings describe, with random weights, on the CPU.

    Raises:
        SettingError: unknown architecture, or an image size that it cannot take.
    """
    m, d = settings.model, settings.data
    branches = ("deep", "shallow") if m.shallow else ("deep",)
    return build_model(m.arch, height=d.height, width=d.width, drop_path=m.drop_path, branches=branches)


def pretrained_model(settings: Settings) -> tuple[Backbone, str]:
    """Build the network that training starts from, with its pretrained weights and
    their normalisation, on the CPU.

    Returns:
        The network, and lines for the log that say what was loaded.

    Raises:
        SettingError: unknown architecture.
        WeightError: a missing weight file, one that fills less of the network than --min-loaded, one whose
            mean and deviation are others than those of --mean and --std, or one of a run that has read
            identities, which this run would not say of itself.
    """
    m, model = settings.model, model_of(settings)
    prepare_blocks(model, settings)
    note = ""
    if m.shallow and "shallow" not in model.branches:
        note = f"note: --arch {m.arch} has no shallow branch; training the deep feature alone\n"
    if m.pretrained == "none":
        model.normalization, pixels = normalization_of(settings)
        warning = "random initial weights (--pretrained none): expect clusters of cameras, not of people"
        return model, f"{note}{warning}\n{pixels}"
    path = weight_file(settings)
    if not path.is_file():
        source = PRETRAINED_WEIGHTS[m.arch][1] if m.arch in PRETRAINED_WEIGHTS else ""
        raise WeightError(
            f"no pretrained weights at {path} for --arch {m.arch}"
            + (f" ({source})" if source else "")
            + "; put them there, name another file with --pretrained FILE, or choose random weights with "
            "--pretrained none"
        )
    report = load_weights(model, path, min_share=m.min_loaded)
    if report.labels not in ("none", settings.run.labels):
        raise WeightError(
            f"--pretrained {path} is of a run with --labels {report.labels}, and what starts from it is "
            f"semi-supervised too: give --labels {report.labels}, so that its tables say so, or another file"
        )
    model.normalization, pixels = normalization_of(settings, report)
    return model, f"{note}{report.summary()}\n{pixels}"


def chosen_normalization(settings: Settings) -> Normalization | None:
    """What --mean and --std say; None without them."""
    mean, std = settings.model.mean, settings.model.std
    return Normalization.of({"mean": mean, "std": std}) if mean else None


def normalization_of(settings: Settings, report: LoadReport | None = None) -> tuple[Normalization, str]:
    """Mean and deviation of the pixels: what the weight file says, else --mean and --std, else those
    of its format, else ImageNet's.

    Args:
        report: of the weight file; None: random weights.

    Returns:
        The normalisation, and a line for the log.

    Raises:
        WeightError: the file says something else than --mean and --std.
    """
    chosen = chosen_normalization(settings)
    of_file = report.normalization if report else None
    stated = report is not None and report.stated
    if report and chosen and of_file and stated and not chosen.close_to(of_file):
        beside = Path(report.path).with_name(report.source)
        correct = (
            f"correct mean and std in {beside}"
            if report.source in CONFIGS
            else "save its tensors alone in another file, as safetensors without metadata, and name that "
            "with --pretrained; a config beside the file does not overrule it"
        )
        raise WeightError(
            f"weight file {report.path} was trained with pixels of {of_file}, as {report.source} says, "
            f"and --mean and --std say {chosen}: leave --mean and --std out to take the file's, or, if "
            f"they are wrong there, {correct}"
        )
    if of_file and (stated or not chosen):
        return of_file, f"  pixels: {of_file}, {'as the file says' if stated else 'of files of this format'}"
    if chosen:
        usual = of_file and not chosen.close_to(of_file)
        note = f"; files of this format usually have {of_file}" if usual else ""
        return chosen, f"  pixels: {chosen}, of --mean and --std{note}"
    cause = "the file does not say otherwise" if report else "no --mean and --std"
    return IMAGENET, f"  pixels: {IMAGENET}; {cause}"


def weight_file(settings: Settings) -> Path:
    """The file that --pretrained means; it need not exist.

    Raises:
        WeightError: no weights are known for the architecture, or torchvision's cannot be downloaded.
    """
    arch, chosen = settings.model.arch, settings.model.pretrained
    if chosen == "torchvision":
        return _torchvision_file(arch)
    if chosen != "auto":
        return Path(chosen)
    if arch not in PRETRAINED_WEIGHTS:
        raise WeightError(
            f"no pretrained weights are known for --arch {arch}; name a file with --pretrained FILE, or "
            "choose --pretrained none"
        )
    return PRETRAINED_WEIGHTS[arch][0]


def prepare_blocks(model: nn.Module, settings: Settings) -> None:
    """Apply --recompute and --compile to the transformer blocks, in place.

    Raises:
        SettingError: a network without transformer blocks.
    """
    if not (settings.run.recompute or settings.run.compile):
        return
    if not isinstance(model, DualBranchViT):
        raise SettingError(
            f"--recompute and --compile are for ViTs, not for --arch {settings.model.arch}; leave them out"
        )
    model.recompute = settings.run.recompute
    if settings.run.compile:
        for block in model.blocks:  # one by one: what lies around them changes with the epoch
            block.compile()


def _torchvision_file(arch: str) -> Path:
    """The ImageNet weights in torchvision's cache, downloaded if they are not there yet."""
    if arch not in RESNETS:
        raise WeightError(
            f"--pretrained torchvision is for --arch {', '.join(RESNETS)}, not {arch}; name a file instead"
        )
    weights = ResNet50_Weights.IMAGENET1K_V1
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(weights.url).name
    if not path.is_file():
        try:
            weights.get_state_dict(progress=True, check_hash=True)
        except (OSError, RuntimeError) as error:
            raise WeightError(
                f"--pretrained torchvision: {weights.url} cannot be downloaded ({error}); put the file at "
                f"{path}"
            ) from None
    return path
