"""Read weight files of the field into our models: names are mapped, position embeddings resized, what was loaded is listed."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from sdcl.datasets.sample import MODALITIES
from sdcl.models.factory import ARCHS, build_model
from sdcl.models.resnet import DualStemResNet
from sdcl.models.vit import DualBranchViT, resize_pos_embed
from sdcl.runtime.errors import UserError, WeightError

WRAPPERS = ("state_dict", "model", "teacher", "student")
PREFIXES = ("module.", "backbone.", "encoder_q.")
# What trainers put beside their tensors: DINO its argparse settings, the family its best score as a NumPy number. Values, no code.
_SCALAR = np.float64(0).__reduce__()[0]
HARMLESS = [
    argparse.Namespace,
    np.dtype,
    *(type(np.dtype(kind)) for kind in ("f2", "f4", "f8", "i4", "i8", "?")),
    *((_SCALAR, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),  # NumPy 1 and 2 name it differently
]


@dataclass
class LoadReport:
    """What became of a weight file.

    Args:
        path: the file. format: what it seems to be.
        loaded, missing: tensors of the model that the file did and did not fill (counted ones only, see `share`).
        resized: position embeddings that were resampled. mismatched: same name, other shape. ignored: tensors of the file without use.
    """

    path: str
    format: str
    loaded: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    resized: list[str] = field(default_factory=list)
    mismatched: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)

    @property
    def share(self) -> float:
        """Loaded tensors over those a starting weight can hold: all but BN necks (never pre-trained) and step counters."""
        return len(self.loaded) / max(1, len(self.loaded) + len(self.missing))

    def summary(self) -> str:
        lines = [f"{self.path} ({self.format}): loaded {len(self.loaded)} of {len(self.loaded) + len(self.missing)} tensors"]
        for title, names in (
            ("resized", self.resized),
            ("missing", self.missing),
            ("other shape", self.mismatched),
            ("unused", self.ignored),
        ):
            if names:
                lines.append(f"  {title}: {len(names)} ({', '.join(names[:4])}{', ...' if len(names) > 4 else ''})")
        return "\n".join(lines)


def load_weights(model: nn.Module, path: str | Path, min_share: float = 0.8) -> LoadReport:
    """Fill a model from a file: ours, the family's, TransReID-SSL's, timm's, torchvision's or LUPerson's.

    A file with one stem fills the stems of both modalities; its last block and norm fill every head.

    Raises:
        ValueError: unreadable file, a pickle that holds more than tensors, less than `min_share` of the model loaded, or a two-stream ResNet
            that has instance normalisation where the model has none, or the reverse.
    """
    tensors = read_tensors(Path(path))
    try:
        report, fitting = _match(model, tensors, str(path))
    except UserError as error:
        raise WeightError(f"weight file {path}: {error}") from None
    if report.share < min_share:
        raise WeightError(
            f"{report.summary()}\nthat is {report.share:.0%} of the model, below --min-loaded {min_share:.0%}. The file looks like "
            f"{report.format}{_best_arch(tensors, min_share)}; choose the --arch it was made for, or another file with --pretrained"
        )
    state = model.state_dict()
    theirs, ours = (any(".ibn." in name for name in names) for names in (tensors, state))
    if theirs != ours and any(n.startswith(("visible_module.", "stems.")) for n in tensors):
        raise WeightError(
            f"weight file {path} is of a two-stream ResNet {'with' if theirs else 'without'} instance normalisation in its stems, which would be "
            f"{'lost' if theirs else 'made up'}: use --arch {'resnet50_ibn' if theirs else 'resnet50'}"
        )
    if any(n.startswith(("NL_", "non_local.")) for n in tensors) and not any(n.startswith("non_local.") for n in state):
        raise WeightError(f"weight file {path} has non-local blocks, which would be lost: use --arch resnet50_nl")
    state.update({n: v.to(state[n].dtype) for n, v in fitting.items()})
    model.load_state_dict(state)
    return report


def _match(model: nn.Module, tensors: dict[str, Tensor], path: str) -> tuple[LoadReport, dict[str, Tensor]]:
    """The report, and the tensors that fit under our names. The model is not changed."""
    kind, mapped, ignored = _map_names(model, tensors)
    report = LoadReport(path, kind, ignored=ignored)
    state = model.state_dict()
    for name, value in list(mapped.items()):
        if name == "pos_embed" and name in state and _same_width_other_grid(value, state[name]):
            mapped[name] = resize_pos_embed(value, model.grid)
            report.resized.append(f"{name} {value.shape[1] - 1} -> {mapped[name].shape[1] - 1} patches")
    fitting = {n: v for n, v in mapped.items() if n in state and v.shape == state[n].shape}
    report.mismatched = [
        f"{n} {tuple(v.shape)}, model {tuple(state[n].shape)}" for n, v in mapped.items() if n in state and n not in fitting
    ]
    report.ignored += [n for n in mapped if n not in state]
    never = (".neck.", ".non_local.")  # pretrained
    counted = [
        n for n in state if "num_batches_tracked" not in n and (n in mapped or not any(part in f".{n}" for part in never))
    ]
    report.loaded = [n for n in counted if n in fitting]
    report.missing = [n for n in counted if n not in fitting]
    return report, fitting


def _best_arch(tensors: dict[str, Tensor], min_share: float) -> str:
    """Which architecture of the table the file fills best, as words for an error; nothing where none is filled well."""
    shares = {}
    for arch in ARCHS:
        with torch.device("meta"):
            model = build_model(arch, height=256, width=128)
        shares[arch] = _match(model, tensors, "")[0].share
    best = max(shares, key=shares.get)
    return f" and fills {shares[best]:.0%} of --arch {best}" if shares[best] >= min_share else ""


def export_single_stem(model: DualBranchViT) -> dict[str, Tensor]:
    """A dual-branch ViT as a single-stem one with TransReID-SSL's names: visible stem, trunk, deep head as last block and norm.

    The reverse of what `load_weights` does with such a file; the infrared stem, the shallow head and the necks are left out.
    """
    last = f"blocks.{model.shape.depth - 1}."
    rules: Rules = [
        (r"stems\.visible\.", ["patch_embed."]),
        (r"(cls_token|pos_embed)$", [r"\1"]),
        (r"blocks\.", ["blocks."]),
        (r"heads\.deep\.block\.", [last]),
        (r"heads\.deep\.norm\.", ["norm."]),
    ]
    return {target: value for name, value in model.state_dict().items() for target in _targets(name, rules)}


def _same_width_other_grid(theirs: Tensor, ours: Tensor) -> bool:
    return (
        theirs.ndim == 3
        and theirs.shape[0] == 1 < theirs.shape[1]
        and theirs.shape[2] == ours.shape[2]
        and theirs.shape[1] != ours.shape[1]
    )


def read_tensors(path: Path) -> dict[str, Tensor]:
    """A flat {name: tensor}, without wrappers and prefixes.

    Raises:
        ValueError: naming the file, when it is no weight file or would run code.
    """
    try:
        if path.suffix == ".safetensors":
            content = load_file(path)
        else:
            with torch.serialization.safe_globals(HARMLESS):
                content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, SafetensorError) as error:
        raise WeightError(f"weight file {path} cannot be read: {error}") from None
    except Exception as error:  # torch raises many kinds for damaged files and for pickles that want to run code
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise WeightError(
            f"weight file {path} holds more than tensors, or is damaged ({first}); it is not opened. Save its state dict alone, "
            "with torch.save or as safetensors, from a program you trust"
        ) from None
    for wrapper in WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    tensors = (
        {k: v for k, v in content.items() if isinstance(k, str) and isinstance(v, Tensor) and _plain(v)}
        if isinstance(content, dict)
        else {}
    )
    if not tensors:
        raise WeightError(f"weight file {path} holds no named tensors")
    # a single-stem file may sit under "base."; in the family's dual-stem files the same word is part of the names we map
    dual = any("patch_embed2." in k for k in tensors)
    return {_strip(k, PREFIXES if dual else (*PREFIXES, "base.")): v for k, v in tensors.items()}


def _plain(tensor: Tensor) -> bool:
    """Whether a tensor can be copied into a model: dense, real, with values."""
    return tensor.layout is torch.strided and not (tensor.is_quantized or tensor.is_complex() or tensor.is_meta)


def _strip(name: str, prefixes: tuple[str, ...]) -> str:
    """The name without any of the prefixes, however often they are nested."""
    for prefix in prefixes:
        if name.startswith(prefix):
            return _strip(name[len(prefix) :], prefixes)
    return name


# ------------------------------------------------------------------ names


def _map_names(model: nn.Module, tensors: dict[str, Tensor]) -> tuple[str, dict[str, Tensor], list[str]]:
    """(what the file is, {our name: tensor}, names without a place)."""
    kind, rules = _format_of(model, tensors)
    mapped, ignored = {}, []
    for name, value in tensors.items():
        targets = list(_targets(name, rules))
        mapped.update(dict.fromkeys(targets, value))
        if not targets:
            ignored.append(name)
    return kind, mapped, ignored


Rules = list[tuple[str, list[str]]]


def _targets(name: str, rules: Rules) -> Iterator[str]:
    """Our names for a name of the file: the first rule whose pattern matches its beginning decides."""
    for pattern, targets in rules:
        match = re.match(pattern, name)
        if match:
            for target in targets:
                yield match.expand(target) + name[match.end() :]
            return


def _format_of(model: nn.Module, tensors: dict[str, Tensor]) -> tuple[str, Rules]:
    both = [f"stems.{m}." for m in MODALITIES]
    if any(n.startswith("stems.") for n in tensors):
        return "a checkpoint of this project", [(r"", [""])]
    if any(n.startswith("base.patch_embed2.") for n in tensors):
        return "a released SDCL checkpoint (dual-branch ViT)", _family_vit_rules(model)
    if any(n.startswith("visible_module.") for n in tensors):
        return "a released two-stream ResNet checkpoint (AGW form)", _family_resnet_rules()
    if "conv1.weight" in tensors:
        return "a single-stem ResNet (torchvision, LUPerson)", [
            (r"(conv1|bn1)\.", [f"{stem}\\1." for stem in both]),
            (r"(layer[1-4])\.", [r"\1."]),
        ]
    if "patch_embed.proj.weight" in tensors:
        ics = any(n.startswith("patch_embed.conv.") for n in tensors)
        kind = "a single-stem ViT with ICS stem (TransReID-SSL, or sdcl.pretrain)" if ics else "a single-stem ViT with plain patches (timm)"
        return kind, _single_stem_rules(model)
    return "a file of unknown format", [(r"", [""])]


def _trunk_rules(model: nn.Module, prefix: str) -> Rules:
    """Blocks of the trunk: all but the last one, which lives on in the heads."""
    depth = 0 if isinstance(model, DualStemResNet) else model.shape.depth
    kept = "|".join(str(i) for i in range(depth - 1)) or "-"
    return [(rf"{prefix}(cls_token|pos_embed)$", [r"\1"]), (rf"{prefix}blocks\.({kept})\.", [r"blocks.\1."])]


def _single_stem_rules(model: nn.Module) -> Rules:
    last = 0 if isinstance(model, DualStemResNet) else model.shape.depth - 1
    return [
        (r"patch_embed\.", [f"stems.{m}." for m in MODALITIES]),
        *_trunk_rules(model, ""),
        (rf"blocks\.{last}\.", [f"heads.{b}.block." for b in model.branches]),
        (r"norm\.", [f"heads.{b}.norm." for b in model.branches]),
    ]


def _family_vit_rules(model: nn.Module) -> Rules:
    heads: Rules = []
    for branch, block, neck in (("deep", "b1", "bottleneck"), ("shallow", "b2", "bottlenecks")):
        if branch in model.branches:
            head = f"heads.{branch}."
            heads += [(rf"{block}\.0\.", [f"{head}block."]), (rf"{block}\.1\.", [f"{head}norm."]), (rf"{neck}\.", [f"{head}neck."])]
    return [
        (r"base\.patch_embed\.", ["stems.visible."]),
        (r"base\.patch_embed2\.", ["stems.infrared."]),
        *_trunk_rules(model, r"base\."),
        *heads,
    ]


def _family_resnet_rules() -> Rules:
    stems: Rules = []
    for modality, short in (("visible", "visible"), ("infrared", "thermal")):
        stems.append((rf"{short}_module\.{short}\.(conv1|bn1)\.", [rf"stems.{modality}.\1."]))
        stems.append((rf"{short}_module\.ibn\.", [f"stems.{modality}.ibn."]))
    blocks: Rules = [
        (rf"NL_(\d)\.(\d)\.{theirs}\.", [rf"non_local.layer\1.\2.{ours}."])
        for theirs, ours in ((r"g\.0", "g"), (r"W\.0", "project"), (r"W\.1", "norm"), ("theta", "theta"), ("phi", "phi"))
    ]
    return [*stems, *blocks, (r"base_resnet\.base\.(layer[1-4])\.", [r"\1."]), (r"bottleneck\.", ["neck."])]
