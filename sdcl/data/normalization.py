"""Mean and deviation that pixels are normalised with: a property of the pretrained weights.

They are found when a weight is loaded (models/pretrained.py), are the network's `normalization`
from then on, and are stored in every checkpoint and exported file. A checkpoint or weight file
without them means ImageNet's.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

KEY = "normalization"  # key in checkpoints, and of the JSON text in the metadata of safetensors and ONNX
TOLERANCE = 1e-3  # numbers that differ by less are roundings of one another; half a grey level is 2e-3


@dataclass(frozen=True)
class Normalization:
    """A pixel value p in 0 .. 1 of channel c enters the network as (p -
    mean[c]) / std[c]; channels are RGB.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @classmethod
    def of(cls, values: Any) -> Normalization:
        """From what `plain` returned, also after it was JSON, or from timm's `pretrained_cfg`.

        Raises:
            ValueError: not three means in 0 .. 1 and three deviations in 0 .. 1, 0 excluded.
        """
        try:
            mean, std = (tuple(float(v) for v in values[name]) for name in ("mean", "std"))
        except (KeyError, TypeError, ValueError):
            raise ValueError(f"no mean and std of three channels: {values!r}") from None
        sane = all(0 <= v <= 1 for v in mean) and all(0 < v <= 1 for v in std)
        if not (len(mean) == len(std) == 3 and sane):
            raise ValueError(
                f"mean and std must be three numbers each, in 0 .. 1 and std above 0: {values!r}"
            )
        return cls((mean[0], mean[1], mean[2]), (std[0], std[1], std[2]))

    def plain(self) -> dict[str, list[float]]:
        """{"mean": [R, G, B], "std": [R, G, B]}, for checkpoints and JSON."""
        return {"mean": list(self.mean), "std": list(self.std)}

    def close_to(self, other: Normalization) -> bool:
        """Whether the numbers are equal but for rounding, as in --mean 0.481 0.458 0.408 for CLIP's."""
        pairs = zip((*self.mean, *self.std), (*other.mean, *other.std))
        return all(math.isclose(a, b, rel_tol=0, abs_tol=TOLERANCE) for a, b in pairs)

    def __str__(self) -> str:
        mean, std = (" ".join(f"{v:.6g}" for v in values) for values in (self.mean, self.std))
        known = next((name for name, one in KNOWN.items() if one.close_to(self)), "")
        return f"mean {mean}, deviation {std}" + (f" ({known})" if known else "")


IMAGENET = Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF = Normalization((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))  # PersonViT, and ViTs of "augreg" in timm
CLIP = Normalization((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
# https://github.com/DengpanFu/LUPerson; published there as values of 0 .. 255.
LUPERSON = Normalization((0.3525, 0.3106, 0.3140), (0.2660, 0.2522, 0.2505))
KNOWN = {"ImageNet": IMAGENET, "CLIP": CLIP, "LUPerson": LUPERSON}


def recorded(state: Mapping[str, Any]) -> Normalization:
    """The normalisation in a checkpoint's state; ImageNet's in one of an earlier version, which has none.

    Raises:
        ValueError: as `Normalization.of`.
    """
    return Normalization.of(state[KEY]) if state.get(KEY) is not None else IMAGENET


def from_metadata(metadata: Mapping[str, str] | None) -> Normalization | None:
    """The normalisation in the metadata of a safetensors file or ONNX graph of
    this project; None without any.

    Raises:
        ValueError: no JSON, or as `Normalization.of`.
    """
    text = (metadata or {}).get(KEY)
    return None if text is None else Normalization.of(json.loads(text))


def to_metadata(normalization: Normalization) -> dict[str, str]:
    """What `from_metadata` reads."""
    return {KEY: json.dumps(normalization.plain())}
