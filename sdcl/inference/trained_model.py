"""A trained model with its settings and provenance, from a run folder, a checkpoint or an exported file.

N images, D dimensions, H height, W width.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from sdcl.config import Settings, from_saved
from sdcl.data.augment import normalize
from sdcl.data.augment_gpu import standardize
from sdcl.data.image_cache import FILTERS, ImageCache, decode
from sdcl.data.normalization import KEY, Normalization, recorded
from sdcl.datasets import MODALITIES
from sdcl.datasets.images import as_rgb
from sdcl.inference.extract import extract_features, flip_averaged, joined
from sdcl.models.backbone import Backbone
from sdcl.models.pretrained import model_of
from sdcl.models.weight_files import EXPORTED
from sdcl.runtime import checkpoint
from sdcl.runtime.devices import choose_device, uses_bf16
from sdcl.runtime.errors import CheckpointError, UserError, WeightError

Images = Tensor | np.ndarray | Sequence[str | Path | Image.Image | np.ndarray]


@dataclass(frozen=True)
class Provenance:
    """Facts about the training images, recorded when the run started.

    Args:
        synthetic: whether the images were drawn by a program; None: not known.
        complete: whether the image counts were those of the published data set; None: not known.
        notices: sentences about the images for logs and model cards.
    """

    synthetic: bool | None = None
    complete: bool | None = None
    notices: tuple[str, ...] = ()


@dataclass(eq=False)
class TrainedModel:
    """A trained network with the settings that made it.

    Args:
        model: maps {modality: (B, 3, H, W)} to {modality: {branch: (B, D)}}; kept in eval mode.
        settings: of its training run.
        fingerprint: short hash of its tensors, the same in every file format; computed when empty.
        path: the folder or file it was opened from.
        epoch: last finished epoch, from 0.
        rows: lines of metrics.jsonl up to that epoch.
        data: fingerprint of the training images.
        provenance: facts about the training images.
        note: why this is not the last checkpoint of the run, if so.
    """

    model: Backbone
    settings: Settings
    fingerprint: str = ""
    path: Path = Path("model in memory")
    epoch: int = -1
    rows: list[dict[str, Any]] = field(default_factory=list)
    data: str = ""
    provenance: Provenance = Provenance()
    note: str = ""

    def __post_init__(self) -> None:
        self.model.eval()
        self.fingerprint = self.fingerprint or weights_fingerprint(self.model)

    @classmethod
    def open(cls, path: Path | str) -> TrainedModel:
        """Open a run folder, a checkpoint, or a safetensors file of `sdcl export`, on the CPU.

        Of a run folder the newest readable checkpoint is taken. Checkpoints of version 0.1 open too.

        Raises:
            CheckpointError: no checkpoint there, a damaged one, or settings that this version cannot read.
            WeightError: an exported file that cannot be read, or tensors that do not fit their settings.
        """
        path = Path(path)
        note = ""
        if path.is_dir():
            state, note = checkpoint.latest(path)
            if state is None:
                raise CheckpointError(
                    f"no checkpoint in {path}; name a run folder (RegDB: its trial_N), a checkpoint or an "
                    "exported file"
                )
        elif path.suffix == ".safetensors":
            state = _exported_state(path)
        else:
            state = checkpoint.load(path)
        try:
            settings = from_saved(state["settings"])
        except UserError as error:
            raise CheckpointError(f"{path}: {error}") from None
        model = model_of(settings)
        try:
            model.normalization = recorded(state)
        except ValueError as error:
            raise CheckpointError(f"{path}: its normalisation cannot be used: {error}") from None
        try:
            model.load_state_dict(state["model"])
        except RuntimeError as error:
            raise WeightError(
                f"the tensors of {path} do not fit its settings: {str(error).splitlines()[0]}"
            ) from None
        provenance = _provenance(state["provenance"]) if "provenance" in state else _recorded_provenance(path)
        return cls(
            model,
            settings,
            path=path,
            epoch=int(state["epoch"]),
            rows=state.get("rows") or [],
            data=state.get("data") or "",
            provenance=provenance,
            note=note,
        )

    @property
    def normalization(self) -> Normalization:
        """Mean and deviation that `embed` and `features` normalise pixels with: those of training."""
        return self.model.normalization

    @property
    def device(self) -> torch.device:
        """The device that the parameters are on."""
        return next(self.model.parameters()).device

    def to(self, device: str | torch.device = "auto") -> TrainedModel:
        """Move the network and return this object.

        Args:
            device: "auto" (the GPU if there is one), "cpu", "cuda" or "cuda:N".

        Raises:
            SettingError: a device that is not there.
        """
        self.model.to(choose_device(str(device)))
        return self

    def embed(
        self, images: Images, modality: str, *, batch_size: int = 128, precision: str = "fp32"
    ) -> np.ndarray:
        """Compute test features: mean over image and horizontal flip, branches side by side, normalised.

        Args:
            images: one of
                - paths or PIL images of any size, resized to the settings' size with the test filter;
                - uint8 RGB (N, H, W, 3), array or tensor, or a list of (H, W, 3) arrays, resized alike;
                - float RGB in [0, 1] (N, 3, height, width), array or tensor, at the settings' size.
            modality: "visible" or "infrared".
            precision: "fp32", "bf16", or "auto" as in training.

        Returns:
            float32 (N, D), unit rows.

        Raises:
            DataError: an image file that cannot be decoded.
            WeightError: features that are not finite.
            ValueError: an unknown modality, or arrays of another shape.
        """
        if modality not in MODALITIES:
            raise ValueError(f"modality must be one of {', '.join(MODALITIES)}, got {modality!r}")
        if batch_size < 1:
            raise ValueError(f"batch_size must be above 0, got {batch_size}")
        if isinstance(images, (str, Path, Image.Image)):
            raise ValueError("images must be a list; embed_folder embeds a folder of images")
        bf16 = uses_bf16(precision, self.device)
        dim = self.model.feature_dim * len(self.model.branches)
        rows = np.empty((len(images), dim), np.float32)
        with torch.no_grad():
            for first in range(0, len(images), batch_size):
                batch = self.network_input(images[first : first + batch_size])
                features = flip_averaged(self.model, batch, modality, bf16=bf16)
                rows[first : first + batch_size] = joined(features).cpu().numpy()
        if not np.isfinite(rows).all():
            raise WeightError(
                f"{self.path} gives features that are not finite: images hold NaN, or the model "
                "diverged (take an earlier checkpoint)"
            )
        return rows

    def features(
        self,
        images: ImageCache,
        modality: str,
        *,
        batch_size: int | None = None,
        precision: str | None = None,
        rows: np.ndarray | None = None,
        unit_views: bool = False,
        title: str = "images",
    ) -> dict[str, Tensor]:
        """Compute the raw features of a decoded cache; `joined` turns them into test features.

        Args:
            batch_size, precision: None: those of the settings.
            rows, unit_views, title: as in `extract_features`.

        Returns:
            branch -> float32 (N, D).
        """
        return extract_features(
            self.model,
            images,
            modality,
            batch_size=batch_size or self.settings.test.test_batch_size,
            bf16=uses_bf16(precision or self.settings.run.precision, self.device),
            title=title,
            rows=rows,
            unit_views=unit_views,
        )

    def network_input(self, images: Images) -> Tensor:
        """Standardised float32 (B, 3, height, width) on the device."""
        d = self.settings.data
        if isinstance(images, (Tensor, np.ndarray)):
            array = images if isinstance(images, Tensor) else torch.from_numpy(np.ascontiguousarray(images))
            if array.is_floating_point():
                if array.shape[1:] != (3, d.height, d.width):
                    raise ValueError(
                        f"float images must be (N, 3, {d.height}, {d.width}), got {tuple(array.shape)}"
                    )
                return standardize(array.to(self.device, torch.float32), self.normalization)
            if array.dtype != torch.uint8 or array.ndim != 4 or array.shape[3] != 3:
                raise ValueError(
                    f"images must be uint8 (N, H, W, 3) or float (N, 3, H, W), got {array.dtype} "
                    f"{tuple(array.shape)}"
                )
            if array.shape[1:3] == (d.height, d.width):
                return normalize(array.to(self.device), self.normalization)
            images = list(array.cpu().numpy())
        pixels = np.stack([self.pixels(image) for image in images])
        return normalize(torch.from_numpy(pixels).to(self.device), self.normalization)

    def pixels(self, image: str | Path | Image.Image | np.ndarray) -> np.ndarray:
        """One image as uint8 (height, width, 3).

        Raises:
            DataError: a file or PIL image that cannot be used. ValueError: no image.
        """
        d = self.settings.data
        if isinstance(image, (str, Path)):
            return decode(str(image), d.height, d.width, d.resize_test)
        if not isinstance(image, Image.Image):
            if (
                not isinstance(image, np.ndarray)
                or image.dtype != np.uint8
                or image.ndim != 3
                or image.shape[2] != 3
            ):
                got = (
                    f"{image.dtype} of shape {image.shape}"
                    if hasattr(image, "dtype")
                    else type(image).__name__
                )
                raise ValueError(
                    f"an image must be a path, a PIL image or a uint8 array (H, W, 3), got {got}"
                )
            image = Image.fromarray(image)
        return np.asarray(as_rgb(image).resize((d.width, d.height), FILTERS[d.resize_test]))


def weights_fingerprint(model: nn.Module) -> str:
    """Short hash of the names, types, shapes and values of all tensors."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def _exported_state(path: Path) -> dict[str, Any]:
    """The tensors and metadata of a file of `sdcl export`, under the names that a checkpoint has."""
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            about = json.loads(metadata[EXPORTED])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        state = {"model": tensors} | {name: about[name] for name in ("settings", "epoch", "data", "rows")}
        if KEY in metadata:
            state[KEY] = json.loads(metadata[KEY])
        # version 0.1 wrote sentences ("notes") instead of facts
        return state | {"provenance": about.get("provenance") or {"notices": about.get("notes", [])}}
    except (OSError, SafetensorError) as error:
        raise WeightError(f"weight file {path} cannot be read: {error}") from None
    except (KeyError, TypeError, ValueError):
        raise WeightError(
            f"{path} holds weights without the settings they were trained with; name a run folder, a "
            "checkpoint or a file of `sdcl export`"
        ) from None


def _recorded_provenance(path: Path) -> Provenance:
    """Facts from the environment.json beside a checkpoint; unknown where there is none."""
    file = (path if path.is_dir() else path.parent) / "environment.json"
    try:
        return _provenance(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return Provenance()


def _provenance(values: Any) -> Provenance:
    if not isinstance(values, dict):
        return Provenance()
    synthetic, complete = (
        v if isinstance(v, bool) else None for v in (values.get("synthetic"), values.get("complete"))
    )
    notices = values.get("notices")
    return Provenance(
        synthetic, complete, tuple(str(n) for n in notices) if isinstance(notices, list) else ()
    )
