"""Random decisions of the augmentation: its options, and one draw for each image.

`augment.py` carries them out.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import NamedTuple

from sdcl.data.pixels import GREY_CODE, JITTER, NO_BOX, UNCHANGED

CHANNEL_OPERATIONS = ("none", "exchange", "adapt_gray")


@dataclass(frozen=True)
class Augmentation:
    """Strengths and probabilities of the operations on an image.

    Args:
        jitter: strength of brightness, contrast, saturation and hue alike, 0 (none) to 0.5.
        pad: black pixels added on each side before a crop of the original size.
        flip: probability of a horizontal flip.
        erase: probability of random erasing.
        channel: "none", "exchange" (one random channel copied to all) or "adapt_gray" (that, or luminance, or
            nothing).

    Raises:
        ValueError: a value out of range, or an unknown channel operation.
    """

    jitter: float = 0.5
    pad: int = 10
    flip: float = 0.5
    erase: float = 0.5
    channel: str = "none"

    def __post_init__(self) -> None:
        if not 0 <= self.jitter <= 0.5:
            raise ValueError(f"jitter must lie in [0, 0.5] (a hue shift of half a circle), got {self.jitter}")
        if self.pad < 0:
            raise ValueError(f"pad must not be negative, got {self.pad}")
        for name, probability in (("flip", self.flip), ("erase", self.erase)):
            if not 0 <= probability <= 1:
                raise ValueError(f"{name} is a probability, got {probability}")
        if self.channel not in CHANNEL_OPERATIONS:
            raise ValueError(f"channel must be one of {CHANNEL_OPERATIONS}, got {self.channel!r}")


def augmentation(
    modality: str,
    view: str = "plain",
    color_jitter: float = 0.5,
    adapt_gray: bool = True,
    pad: int = 10,
    flip: float = 0.5,
    erase: float = 0.5,
) -> Augmentation:
    """The augmentation of one view of one modality, as SDCL trains; for ADCA and GUR with `color_jitter=0`.

    Visible images have two views, "plain" and "exchanged" (channel exchange); infrared images have "plain"
    only, which carries adaptive grey unless `adapt_gray` is False.

    Raises:
        ValueError: unknown modality, or a view that the modality does not have.
    """
    channels = {
        ("visible", "plain"): "none",
        ("visible", "exchanged"): "exchange",
        ("infrared", "plain"): "adapt_gray" if adapt_gray else "none",
    }
    if (modality, view) not in channels:
        raise ValueError(f"no view {view!r} of modality {modality!r}; there are {sorted(channels)}")
    return Augmentation(color_jitter, pad, flip, erase, channels[modality, view])


class AugmentDraw(NamedTuple):
    """The random decisions for one image.

    Args:
        order: indexes into `JITTER`, the jitter operations in the order they happen; empty: none.
        factors: one per entry of `JITTER`: three factors and a hue shift in turns.
        corner: top, left of the crop in the padded image, each 0 .. 2 pad.
        flipped: whether the crop is flipped horizontally.
        box: top, left, height, width of the erased rectangle.
        channel: 0, 1, 2: that channel in all three; 3: luminance in all three; -1: unchanged.
    """

    order: tuple[int, ...]
    factors: tuple[float, ...]
    corner: tuple[int, int]
    flipped: bool
    box: tuple[int, int, int, int]
    channel: int


def draw(rng: random.Random, augmentation: Augmentation, height: int, width: int) -> AugmentDraw:
    """Decide what happens to one image of height x width; operations that are switched off draw nothing."""
    pad = augmentation.pad
    order, factors = draw_jitter(rng, augmentation.jitter) if augmentation.jitter else ((), ())
    corner = (rng.randint(0, 2 * pad), rng.randint(0, 2 * pad)) if pad else (0, 0)
    flipped = rng.random() < augmentation.flip if augmentation.flip else False
    box = draw_erasing(rng, height, width, augmentation.erase) if augmentation.erase else NO_BOX
    channel = UNCHANGED
    if augmentation.channel == "exchange":
        channel = draw_channel_exchange(rng)
    elif augmentation.channel == "adapt_gray":
        channel = draw_channel_adapt_gray(rng)
    return AugmentDraw(order, factors, corner, flipped, box, channel)


def draw_jitter(rng: random.Random, strength: float) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Order of the operations, and their factors: three in [1 - s, 1 + s], a hue shift in [-s, s] turns."""
    order = tuple(rng.sample(range(len(JITTER)), len(JITTER)))
    factors = tuple(rng.uniform(1 - strength, 1 + strength) for _ in range(3))
    return order, (*factors, rng.uniform(-strength, strength))


def draw_erasing(
    rng: random.Random,
    height: int,
    width: int,
    p: float = 0.5,
    area: tuple[float, float] = (0.02, 0.4),
    aspect: float = 0.3,
    attempts: int = 100,
) -> tuple[int, int, int, int]:
    """Rectangle (top, left, height, width) to erase, or `NO_BOX`.

    With probability p: an area fraction and a height/width ratio in [aspect, 1/aspect] are drawn until a
    rectangle strictly smaller than the image comes out, `attempts` times at most.
    """
    if rng.uniform(0, 1) > p:
        return NO_BOX
    for _ in range(attempts):
        target = rng.uniform(*area) * height * width
        ratio = rng.uniform(aspect, 1 / aspect)
        box_height, box_width = round((target * ratio) ** 0.5), round((target / ratio) ** 0.5)
        if box_height < height and box_width < width:
            top, left = rng.randint(0, height - box_height), rng.randint(0, width - box_width)
            return top, left, box_height, box_width
    return NO_BOX


def draw_channel_exchange(rng: random.Random) -> int:
    """Channel code 0, 1 or 2, each with probability 1/3."""
    return rng.randint(0, 2)


def draw_channel_adapt_gray(rng: random.Random) -> int:
    """Channel code: each channel 1/4, luminance 1/8, unchanged 1/8.

    In the released code the setting called "probability" gates the last quarter only.
    """
    code = rng.randint(0, 3)
    return UNCHANGED if code == GREY_CODE and rng.random() > 0.5 else code
