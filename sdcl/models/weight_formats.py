"""Load weight files of several projects into our networks: map names and resize position embeddings.

Which formats are read: the table in `weight_names.py`, and docs/weights.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from sdcl.data.normalization import Normalization
from sdcl.models.backbone import Backbone
from sdcl.models.factory import ARCHS, build_model
from sdcl.models.resnet import DualStemResNet, ResNetShape
from sdcl.models.vit import DualBranchViT, grid_of_count, resize_pos_embed
from sdcl.models.weight_files import WeightFile, read_tensors, read_weight_file
from sdcl.models.weight_names import Format, format_of, grid_of_file
from sdcl.runtime.errors import UserError, WeightError

__all__ = ["LoadReport", "load_weights", "read_tensors", "resize_pos_embed"]


@dataclass
class LoadReport:
    """What a weight file filled.

    Args:
        path: the file.
        format: a description of the format it seems to have.
        loaded, missing: tensors of the network that it did and did not fill, of those that `share` counts.
        resized: position embeddings that were resampled.
        mismatched: tensors of the same name and another shape.
        ignored: tensors of the file that the network does not have.
        normalization: of the pixels that the weights were trained with; None: the file does not say.
        source: what says so, for people: the file itself or a config beside it; "": its format alone.
        notes: sentences on what the file leaves open.
        labels: value of --labels of the run that the file is from.
    """

    path: str
    format: str
    loaded: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    resized: list[str] = field(default_factory=list)
    mismatched: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    normalization: Normalization | None = None
    source: str = ""
    notes: list[str] = field(default_factory=list)
    labels: str = "none"

    @property
    def stated(self) -> bool:
        """Whether the file, or a config beside it, says its normalisation, and not its format alone."""
        return bool(self.source)

    @property
    def share(self) -> float:
        """Loaded share of the tensors that pretrained weights can hold: all but BN necks and step
        counters.
        """
        return len(self.loaded) / max(1, len(self.loaded) + len(self.missing))

    def summary(self) -> str:
        """The report as lines for the log."""
        total = len(self.loaded) + len(self.missing)
        lines = [f"{self.path} ({self.format}): loaded {len(self.loaded)} of {total} tensors"]
        for title, names in (
            ("resized", self.resized),
            ("missing", self.missing),
            ("other shape", self.mismatched),
            ("unused", self.ignored),
        ):
            if names:
                examples = ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
                lines.append(f"  {title}: {len(names)} ({examples})")
        return "\n".join([*lines, *(f"  note: {note}" for note in self.notes)])


def load_weights(model: Backbone, path: str | Path, min_share: float = 0.8) -> LoadReport:
    """Fill a network from a weight file, in place.

    A file with one stem fills the stems of both modalities; its last block and norm fill every head.

    Args:
        min_share: least share of the network's tensors that the file must fill, see `LoadReport.share`.

    Raises:
        WeightError: an unreadable file, a pickle that holds more than tensors, a format that no network
            reads, another form of ViT or ResNet than the network's, or less than `min_share` loaded.
            The network is unchanged then.
    """
    file = read_weight_file(Path(path))
    try:
        form = format_of(file)
        report, fitting, misfits = _match(model, file, form, str(path))
    except UserError as error:
        raise WeightError(f"weight file {path}: {error}") from None
    if misfits:
        raise WeightError(
            f"weight file {path} ({form.description}) is of another form than this network: "
            f"{'; '.join(misfits)}{_remedy(file, form, min_share)}"
        )
    if report.share < min_share:
        raise WeightError(
            f"{report.summary()}\nthat is {report.share:.0%} of the model, below --min-loaded "
            f"{min_share:.0%}. The file looks like {form.description}{_best_arch(file, form, min_share)}; "
            "choose the --arch it was made for, or another file with --pretrained"
        )
    state = model.state_dict()
    file_ibn, model_ibn = (any(".ibn." in name for name in names) for names in (file.tensors, state))
    if file_ibn != model_ibn and any(n.startswith(("visible_module.", "stems.")) for n in file.tensors):
        raise WeightError(
            f"weight file {path} is of a two-stream ResNet {'with' if file_ibn else 'without'} instance "
            f"normalisation in its stems, which would be {'lost' if file_ibn else 'made up'}: "
            f"use --arch {'resnet50_ibn' if file_ibn else 'resnet50'}"
        )
    if any(n.startswith(("NL_", "non_local.")) for n in file.tensors) and not any(
        n.startswith("non_local.") for n in state
    ):
        raise WeightError(
            f"weight file {path} has non-local blocks, which would be lost: use --arch resnet50_nl"
        )
    state.update({n: v.to(state[n].dtype) for n, v in fitting.items()})
    model.load_state_dict(state)
    return report


def stated_normalization(file: WeightFile) -> Normalization | None:
    """What this project wrote into the file, else what timm or open_clip wrote about it."""
    return file.recorded or (file.config.normalization if file.config else None)


def _match(
    model: Backbone, file: WeightFile, form: Format, path: str
) -> tuple[LoadReport, dict[str, Tensor], list[str]]:
    """The report, the tensors that fit under their names in the network, and `_misfits`."""
    mapped, ignored = form.mapped(file, model)
    report = LoadReport(path, form.description, ignored=ignored, labels=file.labels)
    stated = stated_normalization(file)
    report.normalization = stated or form.normalization
    if file.recorded:
        report.source = "the file itself"
    elif file.config and stated:
        report.source = file.config.source
        report.notes.append(f"mean and deviation are those of {file.config.source}")
    elif form.note:
        report.notes.append(form.note)
    state = model.state_dict()
    embedding = mapped.get("pos_embed")
    if isinstance(model, DualBranchViT) and embedding is not None:
        mapped["pos_embed"] = _resized(model, embedding, grid_of_file(file), form, report)
    fitting = {n: v for n, v in mapped.items() if n in state and v.shape == state[n].shape}
    report.mismatched = [
        f"{n} {tuple(v.shape)}, model {tuple(state[n].shape)}"
        for n, v in mapped.items()
        if n in state and n not in fitting
    ]
    report.ignored += [n for n in mapped if n not in state]
    not_pretrained = (
        *(f"{n}." for n, module in model.named_modules() if any(module is neck for neck in model.necks)),
        "non_local.",
    )
    counted = [
        n
        for n in state
        if "num_batches_tracked" not in n and (n in mapped or not n.startswith(not_pretrained))
    ]
    report.loaded = [n for n in counted if n in fitting]
    report.missing = [n for n in counted if n not in fitting]
    return report, fitting, _misfits(model, file, mapped, report)


def _resized(
    model: DualBranchViT,
    embedding: Tensor,
    grid: tuple[int, int] | None,
    form: Format,
    report: LoadReport,
) -> Tensor:
    """A file's position embedding (1, 1 + n, D) on the grid of the network; unchanged where D is another.

    Args:
        grid: of the n patches, if the file says it.
    """
    ours = model.pos_embed
    if not (embedding.ndim == 3 and embedding.shape[0] == 1 < embedding.shape[1]):
        return embedding
    same_grid = embedding.shape[1] == ours.shape[1] and grid in (None, model.grid)
    if embedding.shape[2] != ours.shape[2] or same_grid:
        return embedding
    old = grid or grid_of_count(embedding.shape[1] - 1)
    sides = [f"{height} x {width}" for height, width in (old, model.grid)]
    report.resized.append(f"pos_embed of {sides[0]} patches to {sides[1]}")
    return resize_pos_embed(embedding, model.grid, old, form.antialias)


# ------------------------------------------------------------------ files of other networks

CLASS_TOKENS = ("cls_token", "class_embedding")  # ends of names
PARTS = {".ls1.gamma": "LayerScale", "norm_pre.": "a norm before the first block"}
BLOCK = re.compile(r"(blocks|layer[1-4])\.(\d+)\.")


def _misfits(model: Backbone, file: WeightFile, mapped: dict[str, Tensor], report: LoadReport) -> list[str]:
    """How the form of the file's network differs from ours, where loading the
    rest would give wrong features.
    """
    state, stem = model.state_dict(), "stems.visible."
    first = next(
        (mapped[stem + n] for n in ("conv.0.weight", "conv1.weight", "proj.weight") if stem + n in mapped),
        None,
    )
    if first is not None and first.ndim == 4 and first.shape[1] != 3:
        return [f"its first convolution takes {first.shape[1]} channels, and images have 3"]
    misfits = _deeper(model, (*mapped, *report.ignored))
    kernel = mapped.get(f"{stem}proj.weight")
    if not isinstance(model, DualBranchViT) or kernel is None or kernel.ndim != 4:
        return misfits
    stem_kind = "ics" if f"{stem}conv.0.weight" in mapped else "plain"
    patch = kernel.shape[-1] * (2 if stem_kind == "ics" else 1)
    kinds = {"ics": "an ICS stem", "plain": "plain patches"}
    if stem_kind != model.shape.stem:
        misfits.append(f"it has {kinds[stem_kind]}, the network {kinds[model.shape.stem]}")
    if patch != model.shape.patch:
        misfits.append(f"its patches are {patch} pixels wide, the network's {model.shape.patch}")
    for part, name in PARTS.items():
        theirs, ours = (any(part in n for n in names) for names in (mapped, state))
        if theirs != ours:
            misfits.append(f"it has {name if theirs else 'no ' + name.removeprefix('a ')}")
    registers = mapped["reg_token"].shape[1] if "reg_token" in mapped else 0
    if registers != model.shape.registers:
        misfits.append(f"it has {registers or 'no'} registers, the network {model.shape.registers or 'none'}")
    quick = file.config.quick_gelu if file.config else None
    if model.shape.pre_norm and not misfits:
        if quick is None:
            report.notes.append(
                "the file does not say its activation: QuickGELU of OpenAI's is --arch clip_base, GELU "
                "of LAION's --arch clip_base_gelu"
            )
        elif quick != (model.shape.activation == "quick_gelu"):
            misfits.append(f"its activation is {'QuickGELU' if quick else 'GELU'}, as its config says")
    return misfits


def _deeper(model: Backbone, names: Iterable[str]) -> list[str]:
    """Stages of which a file has more blocks than the network, whose last ones would be lost."""
    ours: dict[str, int] = {}
    if isinstance(model, DualStemResNet):
        ours = {f"layer{stage}": count for stage, count in enumerate(model.shape.layers, start=1)}
    elif isinstance(model, DualBranchViT):
        ours = {"blocks": model.shape.depth}
    theirs = dict.fromkeys(ours, 0)
    for match in filter(None, map(BLOCK.match, names)):
        if match[1] in theirs:
            theirs[match[1]] = max(theirs[match[1]], int(match[2]) + 1)
    return [
        f"it has {theirs[stage]} blocks{'' if stage == 'blocks' else f' in {stage}'}, the network {count}"
        for stage, count in ours.items()
        if theirs[stage] > count
    ]


def _remedy(file: WeightFile, form: Format, min_share: float) -> str:
    """The end of a message on a file of another form."""
    shares = _shares(file, form)
    if shares and max(shares.values()) >= min_share:
        return f". Use --arch {max(shares, key=lambda arch: shares[arch])}, or another file with --pretrained"
    return ". No --arch has this form: choose another file with --pretrained"


def _best_arch(file: WeightFile, form: Format, min_share: float) -> str:
    """Name the architecture that the file fills best, as part of a message; empty if it fills none well."""
    shares = _shares(file, form)
    best = max(shares, key=lambda arch: shares[arch], default="")
    return f" and fills {shares[best]:.0%} of --arch {best}" if best and shares[best] >= min_share else ""


def _shares(file: WeightFile, form: Format) -> dict[str, float]:
    """Architecture -> share that the file fills, of those that have its form."""
    shares: dict[str, float] = {}
    class_token = next((v for n, v in file.tensors.items() if n.endswith(CLASS_TOKENS)), None)
    dim = 0 if class_token is None else class_token.shape[-1]  # 0: a ResNet
    for arch, shape in ARCHS.items():
        if dim != (0 if isinstance(shape, ResNetShape) else shape.dim):
            continue
        patch = 16 if isinstance(shape, ResNetShape) else shape.patch
        with torch.device("meta"):
            model = build_model(arch, height=16 * patch, width=8 * patch)
        report, _, misfits = _match(model, file, form, "")
        if not misfits:
            shares[arch] = report.share
    return shares
