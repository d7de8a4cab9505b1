"""Load weight files of several projects into our networks: map names and resize position embeddings.

Read are files of this project, of the released ADCA, GUR and SDCL code, of TransReID-SSL, timm, torchvision
and LUPerson.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from sdcl.data.normalization import KEY, Normalization, from_metadata
from sdcl.datasets import MODALITIES
from sdcl.models.backbone import Backbone
from sdcl.models.factory import ARCHS, build_model
from sdcl.models.vit import DualBranchViT, resize_pos_embed
from sdcl.runtime.errors import UserError, WeightError

WRAPPERS = ("state_dict", "model", "teacher", "student")
PREFIXES = ("module.", "backbone.", "encoder_q.")
# Values, not code, that trainers save beside their tensors: DINO its argparse settings; ADCA, GUR and SDCL
# their best score, a NumPy number whose constructor NumPy 1 and 2 name differently.
_SCALAR = np.float64(0).__reduce__()[0]
HARMLESS: list[Any] = [
    argparse.Namespace,
    np.dtype,
    *(type(np.dtype(kind)) for kind in ("f2", "f4", "f8", "i4", "i8", "?")),
    *((_SCALAR, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
]


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
    """

    path: str
    format: str
    loaded: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    resized: list[str] = field(default_factory=list)
    mismatched: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    normalization: Normalization | None = None

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
        return "\n".join(lines)


def load_weights(model: Backbone, path: str | Path, min_share: float = 0.8) -> LoadReport:
    """Fill a network from a weight file, in place.

    A file with one stem fills the stems of both modalities; its last block and norm fill every head.

    Args:
        min_share: least share of the network's tensors that the file must fill, see `LoadReport.share`.

    Raises:
        WeightError: an unreadable file, a pickle that holds more than tensors, less than `min_share` loaded,
            or a two-stream ResNet with instance normalisation in its stems where the network has none, or the
            reverse. The network is unchanged then.
    """
    tensors, normalization = read_weights(Path(path))
    try:
        report, fitting = _match(model, tensors, str(path))
        report.normalization = normalization
    except UserError as error:
        raise WeightError(f"weight file {path}: {error}") from None
    if report.share < min_share:
        raise WeightError(
            f"{report.summary()}\nthat is {report.share:.0%} of the model, below --min-loaded "
            f"{min_share:.0%}. "
            f"The file looks like {report.format}{_best_arch(tensors, min_share)}; choose the --arch it was "
            "made "
            "for, or another file with --pretrained"
        )
    state = model.state_dict()
    file_ibn, model_ibn = (any(".ibn." in name for name in names) for names in (tensors, state))
    if file_ibn != model_ibn and any(n.startswith(("visible_module.", "stems.")) for n in tensors):
        raise WeightError(
            f"weight file {path} is of a two-stream ResNet {'with' if file_ibn else 'without'} instance "
            f"normalisation in its stems, which would be {'lost' if file_ibn else 'made up'}: "
            f"use --arch {'resnet50_ibn' if file_ibn else 'resnet50'}"
        )
    if any(n.startswith(("NL_", "non_local.")) for n in tensors) and not any(
        n.startswith("non_local.") for n in state
    ):
        raise WeightError(
            f"weight file {path} has non-local blocks, which would be lost: use --arch resnet50_nl"
        )
    state.update({n: v.to(state[n].dtype) for n, v in fitting.items()})
    model.load_state_dict(state)
    return report


def _match(model: Backbone, tensors: dict[str, Tensor], path: str) -> tuple[LoadReport, dict[str, Tensor]]:
    """The report, and the tensors that fit, under their names in the network."""
    description, mapped, ignored = _map_names(model, tensors)
    report = LoadReport(path, description, ignored=ignored)
    state = model.state_dict()
    embedding = mapped.get("pos_embed")
    if (
        isinstance(model, DualBranchViT)
        and embedding is not None
        and _other_grid(embedding, state["pos_embed"])
    ):
        mapped["pos_embed"] = resized = resize_pos_embed(embedding, model.grid)
        report.resized.append(f"pos_embed {embedding.shape[1] - 1} -> {resized.shape[1] - 1} patches")
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
    return report, fitting


def _best_arch(tensors: dict[str, Tensor], min_share: float) -> str:
    """Name the architecture that the file fills best, as part of a message; empty if it fills none well."""
    shares: dict[str, float] = {}
    for arch in ARCHS:
        with torch.device("meta"):
            model = build_model(arch, height=256, width=128)
        shares[arch] = _match(model, tensors, "")[0].share
    best = max(shares, key=lambda arch: shares[arch])
    return f" and fills {shares[best]:.0%} of --arch {best}" if shares[best] >= min_share else ""


def _other_grid(embedding: Tensor, ours: Tensor) -> bool:
    """Whether two position embeddings (1, 1 + n, D) have the same D and another n."""
    same_form = embedding.ndim == 3 and embedding.shape[0] == 1 < embedding.shape[1]
    return same_form and embedding.shape[2] == ours.shape[2] and embedding.shape[1] != ours.shape[1]


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read {name: tensor} from a weight file, as `read_weights`."""
    return read_weights(path)[0]


def read_weights(path: Path) -> tuple[dict[str, Tensor], Normalization | None]:
    """Read {name: tensor} from a weight file, without the wrappers and prefixes of trainers, and the normalisation
    that checkpoints, exports and pretraining of this project write into it; None without any.

    Raises:
        WeightError: no weight file, a damaged one, or a pickle that would run code.
    """
    content: Any
    metadata: dict[str, str] | None = None
    try:
        if path.suffix == ".safetensors":
            content = load_file(path)
            with safe_open(path, "pt") as file:
                metadata = file.metadata()
        else:
            with torch.serialization.safe_globals(HARMLESS):
                content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, SafetensorError) as error:
        raise WeightError(f"weight file {path} cannot be read: {error}") from None
    except Exception as error:  # torch raises many kinds, for damaged files and for pickles with code
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise WeightError(
            f"weight file {path} holds more than tensors, or is damaged ({first}); it is not opened. Save "
            "its state dict alone, with torch.save or as safetensors, from a program you trust"
        ) from None
    normalization = _recorded_normalization(path, content, metadata)
    for wrapper in WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    items = content.items() if isinstance(content, dict) else ()
    tensors = {k: v for k, v in items if isinstance(k, str) and isinstance(v, Tensor) and _plain(v)}
    if not tensors:
        raise WeightError(f"weight file {path} holds no named tensors")
    # A single-stem file may lie under "base."; in files of the released SDCL code this word is part of mapped
    # names.
    dual_stem = any("patch_embed2." in k for k in tensors)
    prefixes = PREFIXES if dual_stem else (*PREFIXES, "base.")
    return {_strip(k, prefixes): v for k, v in tensors.items()}, normalization


def _recorded_normalization(
    path: Path, content: Any, metadata: dict[str, str] | None
) -> Normalization | None:
    """The normalisation that this project wrote beside the tensors."""
    try:
        if isinstance(content, dict) and isinstance(content.get(KEY), dict):
            return Normalization.of(content[KEY])
        return from_metadata(metadata)
    except ValueError as error:
        raise WeightError(f"weight file {path}: its normalisation cannot be used: {error}") from None


def _plain(tensor: Tensor) -> bool:
    """Whether a tensor can be copied into a network: dense, real, with values."""
    return tensor.layout is torch.strided and not (
        tensor.is_quantized or tensor.is_complex() or tensor.is_meta
    )


def _strip(name: str, prefixes: tuple[str, ...]) -> str:
    """Remove the prefixes from a name, also nested ones."""
    for prefix in prefixes:
        if name.startswith(prefix):
            return _strip(name[len(prefix) :], prefixes)
    return name


# ------------------------------------------------------------------ names

# pattern of the beginning of a name -> what replaces it, once for each copy
Rules = list[tuple[str, list[str]]]


def _map_names(model: Backbone, tensors: dict[str, Tensor]) -> tuple[str, dict[str, Tensor], list[str]]:
    """(description of the format, {name in the network: tensor}, names that the network does not have)."""
    description, rules = _format_of(model, tensors)
    mapped: dict[str, Tensor] = {}
    ignored: list[str] = []
    for name, value in tensors.items():
        targets = list(_targets(name, rules))
        mapped.update(dict.fromkeys(targets, value))
        if not targets:
            ignored.append(name)
    return description, mapped, ignored


def _targets(name: str, rules: Rules) -> Iterator[str]:
    """Names in the network for a name of the file, by the first rule that matches."""
    for pattern, targets in rules:
        match = re.match(pattern, name)
        if match:
            for target in targets:
                yield match.expand(target) + name[match.end() :]
            return


def _format_of(model: Backbone, tensors: dict[str, Tensor]) -> tuple[str, Rules]:
    """Description of the format that the names belong to, and its rules."""
    both = [f"stems.{m}." for m in MODALITIES]
    if any(n.startswith("stems.") for n in tensors):
        return "a checkpoint of this project", [(r"", [""])]
    if any(n.startswith("base.patch_embed2.") for n in tensors):
        return "a released SDCL checkpoint (dual-branch ViT)", _released_vit_rules(model)
    if any(n.startswith("visible_module.") for n in tensors):
        return "a released two-stream ResNet checkpoint (AGW form)", _released_resnet_rules()
    if "conv1.weight" in tensors:
        return "a single-stem ResNet (torchvision, LUPerson)", [
            (r"(conv1|bn1)\.", [f"{stem}\\1." for stem in both]),
            (r"(layer[1-4])\.", [r"\1."]),
        ]
    if "patch_embed.proj.weight" in tensors:
        ics = any(n.startswith("patch_embed.conv.") for n in tensors)
        origin = "ICS stem (TransReID-SSL, or `sdcl pretrain`)" if ics else "plain patches (timm)"
        return f"a single-stem ViT with {origin}", _single_stem_rules(model)
    return "a file of unknown format", [(r"", [""])]


def _last_block(model: Backbone) -> int:
    """Index of the last block of a ViT of this shape, which the heads hold; 0 for a ResNet."""
    return model.shape.depth - 1 if isinstance(model, DualBranchViT) else 0


def _trunk_rules(model: Backbone, prefix: str) -> Rules:
    """Class token, position embedding and the blocks of the trunk: all but the last."""
    kept = "|".join(str(i) for i in range(_last_block(model))) or "-"
    return [(rf"{prefix}(cls_token|pos_embed)$", [r"\1"]), (rf"{prefix}blocks\.({kept})\.", [r"blocks.\1."])]


def _single_stem_rules(model: Backbone) -> Rules:
    return [
        (r"patch_embed\.", [f"stems.{m}." for m in MODALITIES]),
        *_trunk_rules(model, ""),
        (rf"blocks\.{_last_block(model)}\.", [f"heads.{b}.block." for b in model.branches]),
        (r"norm\.", [f"heads.{b}.norm." for b in model.branches]),
    ]


def _released_vit_rules(model: Backbone) -> Rules:
    """Names of the released SDCL code."""
    heads: Rules = []
    for branch, block, neck in (("deep", "b1", "bottleneck"), ("shallow", "b2", "bottlenecks")):
        if branch in model.branches:
            head = f"heads.{branch}."
            heads += [
                (rf"{block}\.0\.", [f"{head}block."]),
                (rf"{block}\.1\.", [f"{head}norm."]),
                (rf"{neck}\.", [f"{head}neck."]),
            ]
    return [
        (r"base\.patch_embed\.", ["stems.visible."]),
        (r"base\.patch_embed2\.", ["stems.infrared."]),
        *_trunk_rules(model, r"base\."),
        *heads,
    ]


def _released_resnet_rules() -> Rules:
    """Names of the released ADCA, GUR and SDCL code for their two-stream ResNets."""
    stems: Rules = []
    for modality, short in (("visible", "visible"), ("infrared", "thermal")):
        stems.append((rf"{short}_module\.{short}\.(conv1|bn1)\.", [rf"stems.{modality}.\1."]))
        stems.append((rf"{short}_module\.ibn\.", [f"stems.{modality}.ibn."]))
    blocks: Rules = [
        (rf"NL_(\d)\.(\d)\.{theirs}\.", [rf"non_local.layer\1.\2.{ours}."])
        for theirs, ours in (
            (r"g\.0", "g"),
            (r"W\.0", "project"),
            (r"W\.1", "norm"),
            ("theta", "theta"),
            ("phi", "phi"),
        )
    ]
    return [*stems, *blocks, (r"base_resnet\.base\.(layer[1-4])\.", [r"\1."]), (r"bottleneck\.", ["neck."])]
