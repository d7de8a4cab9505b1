"""Mean and deviation that pixels are normalised with: a property of the pretrained weights."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Normalization:
    """A pixel value p in 0 .. 1 of channel c enters the network as (p - mean[c]) / std[c]; channels are RGB."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


IMAGENET = Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF = Normalization((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))  # PersonViT, and ViTs of "augreg" in timm
CLIP = Normalization((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
# https://github.com/DengpanFu/LUPerson; published there as values of 0 .. 255.
LUPERSON = Normalization((0.3525, 0.3106, 0.3140), (0.2660, 0.2522, 0.2505))
