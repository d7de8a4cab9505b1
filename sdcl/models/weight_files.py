"""Read weight files: tensors without the wrappers of trainers, and what the file
and its config.json say of them.

Pickles are read as tensors only, TorchScript archives not at all.
"""

from __future__ import annotations

import argparse
import json
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from sdcl.data.normalization import KEY, Normalization, from_metadata
from sdcl.runtime.errors import WeightError

WRAPPERS = ("state_dict", "model", "module", "teacher", "student", "target_encoder")
PREFIXES = ("module.", "backbone.", "encoder_q.", "visual.trunk.")
EXPORTED = "sdcl"  # key of the JSON text in the metadata of exported files
CONFIGS = ("config.json", "open_clip_config.json")  # beside the weight, as the Hugging Face hub lays them out
# parts of names in files that neither timm nor open_clip write: ICS stems, two stems
NOT_THEIRS = ("patch_embed.conv.", "patch_embed2.", "stems.", "visible_module.")
# Values, not code, that trainers save beside their tensors: DINO its argparse settings; ADCA, GUR and SDCL
# their best score, a NumPy number whose constructor NumPy 1 and 2 name differently.
_SCALAR = np.float64(0).__reduce__()[0]
HARMLESS: list[Any] = [
    argparse.Namespace,
    np.dtype,
    *(type(np.dtype(kind)) for kind in ("f2", "f4", "f8", "i4", "i8", "?")),
    *((_SCALAR, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
]


@dataclass(frozen=True)
class WeightConfig:
    """What timm or open_clip wrote about a weight.

    Args:
        source: name of the file that says it.
        architecture: timm's name of it, or "".
        normalization: of the pixels.
        image: (height, width) of the pixels that its position embedding is for.
        quick_gelu: whether its MLPs have QuickGELU. None in each: not said.
    """

    source: str
    architecture: str = ""
    normalization: Normalization | None = None
    image: tuple[int, int] | None = None
    quick_gelu: bool | None = None


@dataclass(frozen=True)
class WeightFile:
    """A weight file.

    Args:
        tensors: {name: tensor} without the prefixes of trainers.
        stored_names: the names as stored.
        metadata: of a safetensors file.
        config: what timm or open_clip wrote about it.
        recorded: normalisation that checkpoints, exports and pretraining of this project write into the file.
        labels: value of --labels of the run that such a file is from, "none" of every other file.
    """

    tensors: dict[str, Tensor]
    stored_names: frozenset[str]
    metadata: Mapping[str, str] = field(default_factory=dict)
    config: WeightConfig | None = None
    recorded: Normalization | None = None
    labels: str = "none"

    def has(self, *names: str) -> bool:
        """Whether there is a tensor of each name."""
        return all(name in self.tensors for name in names)

    def any_part(self, *parts: str) -> bool:
        """Whether a tensor's name contains one of the parts."""
        return any(part in name for name in self.tensors for part in parts)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read {name: tensor} from a weight file, as `read_weight_file`."""
    return read_weight_file(path).tensors


def read_weight_file(path: Path) -> WeightFile:
    """Read a weight file.

    Raises:
        WeightError: no weight file, a damaged one, a pickle that would run code, or a TorchScript archive.
    """
    content, metadata = _content(path)
    recorded, labels = _recorded(path, content, metadata), _labels(content, metadata)
    for wrapper in WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    items = content.items() if isinstance(content, dict) else ()
    stored = {k: v for k, v in items if isinstance(k, str) and isinstance(v, Tensor) and _plain(v)}
    if not stored:
        raise WeightError(f"weight file {path} holds no named tensors; save the network's state dict")
    # A single-stem file may lie under "base."; in files of the released SDCL code this word is part of mapped
    # names.
    dual_stem = any("patch_embed2." in k for k in stored)
    prefixes = PREFIXES if dual_stem else (*PREFIXES, "base.")
    tensors = {_strip(k, prefixes): v for k, v in stored.items()}
    config = _config(path, metadata, tensors)
    return WeightFile(tensors, frozenset(stored), metadata, config, recorded, labels)


def _content(path: Path) -> tuple[Any, dict[str, str]]:
    """(what was saved, metadata)."""
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, "pt") as file:
                metadata = file.metadata() or {}
            return load_file(path), metadata
        if _is_torchscript(path):
            raise WeightError(
                f"weight file {path} is a TorchScript archive, as OpenAI publishes CLIP: a program, "
                "not tensors; it is "
                'not opened. If you trust its source, write its tensors once with: python -c "import torch; '
                f"torch.save(torch.jit.load('{path.name}', map_location='cpu').state_dict(), "
                f"'{path.stem}_tensors.pth')\", and name that file"
            )
        with torch.serialization.safe_globals(HARMLESS):
            return torch.load(path, map_location="cpu", weights_only=True), {}
    except WeightError:
        raise
    except (OSError, SafetensorError) as error:
        raise WeightError(f"weight file {path} cannot be read: {error}") from None
    except Exception as error:  # torch raises many kinds, for damaged files and for pickles with code
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise WeightError(
            f"weight file {path} holds more than tensors, or is damaged ({first}); it is not opened. Save "
            "its state dict alone, with torch.save or as safetensors, from a program you trust"
        ) from None


def _recorded(path: Path, content: Any, metadata: dict[str, str]) -> Normalization | None:
    """The normalisation that this project wrote beside the tensors."""
    try:
        if isinstance(content, dict) and isinstance(content.get(KEY), dict):
            return Normalization.of(content[KEY])
        return from_metadata(metadata)
    except ValueError as error:
        raise WeightError(f"weight file {path}: its normalisation cannot be used: {error}") from None


def _labels(content: Any, metadata: Mapping[str, str]) -> str:
    """--labels of the run whose checkpoint or export a file is; "none" where it does not say."""
    try:
        about = json.loads(metadata[EXPORTED]) if EXPORTED in metadata else content
        return str(about["settings"]["labels"])
    except (ValueError, TypeError, KeyError, IndexError):
        return "none"


def _is_torchscript(path: Path) -> bool:
    """Whether a file is a zip archive with the constants of a TorchScript program."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


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


# ------------------------------------------------------------------ what timm and open_clip wrote about it


def _config(path: Path, metadata: Mapping[str, str], tensors: dict[str, Tensor]) -> WeightConfig | None:
    """From the metadata of the file, else from a config.json beside it that belongs to its tensors."""
    candidates = [(f"the metadata of {path.name}", metadata.get(key)) for key in ("pretrained_cfg", "config")]
    for name in CONFIGS:
        try:
            candidates.append((name, (path.parent / name).read_text(encoding="utf-8")))
        except (OSError, UnicodeDecodeError):
            continue
    for source, text in candidates:
        try:
            values = json.loads(text) if text else None
        except ValueError:
            continue
        if isinstance(values, dict) and (source not in CONFIGS or _belongs(values, tensors)):
            config = _config_of(source, values)
            if config is not None:
                return config
    return None


def _belongs(values: dict[str, Any], tensors: dict[str, Tensor]) -> bool:
    """Whether a config that lies beside a file may be of its tensors: they are of its trainer's form, and
    have its number of features and its side of a patch, if it names them. Folders hold several weights.
    """
    if any(part in name for name in tensors for part in NOT_THEIRS):
        return False
    if "preprocess_cfg" in values:  # open_clip
        return any("class_embedding" in name or name.startswith("norm_pre.") for name in tensors)
    features, kernel = values.get("num_features"), tensors.get("patch_embed.proj.weight")
    patch = re.search(r"patch(\d+)", str(values.get("architecture")))
    if patch and kernel is not None and int(patch[1]) != kernel.shape[-1]:
        return False
    return features is None or any(features in tensor.shape for tensor in tensors.values())


def _config_of(source: str, values: dict[str, Any]) -> WeightConfig | None:
    if isinstance(values.get("preprocess_cfg"), dict):  # open_clip
        model = values.get("model_cfg")
        quick = bool(model.get("quick_gelu", False)) if isinstance(model, dict) else None
        return WeightConfig(source, "", _normalization(values["preprocess_cfg"]), None, quick)
    about = values.get("pretrained_cfg", values)  # timm
    if not (isinstance(about, dict) and "mean" in about and "std" in about):
        return None
    architecture = str(values.get("architecture") or about.get("architecture") or "")
    return WeightConfig(
        source, architecture, _normalization(about), _image(about), _quick_gelu(architecture, about)
    )


def _normalization(about: dict[str, Any]) -> Normalization | None:
    try:
        return Normalization.of(about)
    except ValueError:
        return None


def _image(about: dict[str, Any]) -> tuple[int, int] | None:
    size = about.get("input_size")  # channels, height, width
    if isinstance(size, (list, tuple)) and len(size) == 3 and all(isinstance(n, int) for n in size):
        return size[1], size[2]
    return None


def _quick_gelu(architecture: str, about: dict[str, Any]) -> bool | None:
    """timm names it in the architecture, and has OpenAI's weight under both names."""
    if "quickgelu" in architecture:
        return True
    return None if "clip" not in architecture or about.get("tag") == "openai" else False
