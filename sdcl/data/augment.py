"""Training images made different: what is done to an image is drawn on the host, and done to the whole batch on its device.

    uint8 -> [0, 1] -> colour jitter -> zero pad + crop -> flip -> ImageNet mean/std -> random erasing -> channel operation

Every sample has its own `random.Random(seed)`, so an image does not depend on its batch, its place in it, or the rank. `draw_*`
functions consume the generator, `apply_*` functions are deterministic and vectorised over the batch. Images on the host go through
`host.py`, which does the same one image at a time.

Two consequences of the order, both as in the released ADCA, GUR and SDCL training code: the pad is black (0 before the mean is
taken away, not 0 after), and erasing writes the [0, 1]-scale colour `ERASE_FILL` into an already standardised image. The channel
operation comes last and so also acts on the erased rectangle.

One deliberate difference: jitter is applied at the training size, after the resize. The release jitters before the resize;
pointwise operations commute with a linear resize except for clamping, for rounding to uint8 between operations, and for the hue.

Legend: B batch, H height, W width.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sdcl.data import augment_cpu

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
ERASE_FILL = (0.4914, 0.4822, 0.4465)
GREY = (0.2989, 0.5870, 0.1140)  # luminance weights of R, G, B
UNCHANGED, GREY_CODE = -1, 3  # channel codes; 0, 1, 2 copy that channel to all three
NO_BOX = (0, 0, 0, 0)
CHANNEL_OPERATIONS = ("none", "exchange", "adapt_gray")


@dataclass(frozen=True)
class Augmentation:
    """What may happen to an image.

    Args:
        jitter: strength of brightness, contrast, saturation and hue alike, 0 (none) to 0.5.
        pad: black pixels added on each side before a crop of the original size.
        flip: probability of a mirror image.
        erase: probability of random erasing.
        channel: "none", "exchange" (one random channel copied to all) or "adapt_gray" (that, or luminance, or nothing).

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
            raise ValueError(f"jitter must lie in [0, 0.5] (a hue shift of 0.5 is half the circle), got {self.jitter}")
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
    channel_exchange: bool = True,
    adapt_gray: bool = True,
    pad: int = 10,
    flip: float = 0.5,
    erase: float = 0.5,
) -> Augmentation:
    """The augmentation of one view of one modality, as SDCL trains; ADCA and GUR are the same with `color_jitter=0`.

    Visible images have two views, "plain" and "exchanged" (channel exchange, unless switched off); infrared images have "plain"
    only, which carries adaptive grey (unless switched off).

    Raises:
        ValueError: unknown modality, or a view which that modality does not have.
    """
    channels = {
        ("visible", "plain"): "none",
        ("visible", "exchanged"): "exchange" if channel_exchange else "none",
        ("infrared", "plain"): "adapt_gray" if adapt_gray else "none",
    }
    if (modality, view) not in channels:
        raise ValueError(f"no view {view!r} of modality {modality!r}; there are {sorted(channels)}")
    return Augmentation(jitter=color_jitter, pad=pad, flip=flip, erase=erase, channel=channels[modality, view])


# ------------------------------------------------------------------ the whole chain


class Draw(NamedTuple):
    """Everything that was decided for one image."""

    order: tuple[int, ...]  # jitter operations in the order they happen, indexes into JITTER_OPERATIONS; empty is none
    factors: tuple[float, ...]  # one per entry of JITTER_OPERATIONS
    corner: tuple[int, int]  # top, left of the crop in the padded image
    mirrored: bool
    box: tuple[int, int, int, int]  # top, left, height, width of the erased rectangle
    channel: int  # code, see UNCHANGED


def augment(images: Tensor, augmentation: Augmentation, seeds: Sequence[int]) -> Tensor:
    """Augmented, standardised images.

    Args:
        images: (B, H, W, 3) uint8, on the device where the work shall be done.
        augmentation: what may happen.
        seeds: B integers, one generator each.

    Returns:
        (B, 3, H, W) float32.

    Raises:
        ValueError: images of another shape or type, or another number of seeds.
    """
    _check(images)
    if len(seeds) != len(images):
        raise ValueError(f"{len(images)} images need as many seeds, got {len(seeds)}")
    draws = [draw(random.Random(int(seed)), augmentation, *images.shape[1:3]) for seed in seeds]
    return (host_chain if images.device.type == "cpu" else device_chain)(images, augmentation, draws)


def host_chain(images: Tensor, augmentation: Augmentation, draws: list[Draw]) -> Tensor:
    """`device_chain` by compiled loops, for images on the host: there they are an order of magnitude faster."""
    operations = len(JITTER_OPERATIONS) if augmentation.jitter else 0
    orders = np.array([d.order for d in draws], np.int64).reshape(len(draws), operations)
    factors = np.array([d.factors for d in draws], np.float32).reshape(len(draws), operations)
    windows = np.array([(*d.corner, d.mirrored) for d in draws], np.int64).reshape(-1, 3)
    boxes = np.array([d.box for d in draws], np.int64).reshape(-1, 4)
    channels = np.array([d.channel for d in draws], np.int64)
    color = np.array((IMAGENET_MEAN, IMAGENET_STD, ERASE_FILL, GREY), np.float32)
    return torch.from_numpy(augment_cpu.augmented(images.numpy(), orders, factors, windows, boxes, channels, augmentation.pad, color))


def device_chain(images: Tensor, augmentation: Augmentation, draws: list[Draw]) -> Tensor:
    """uint8 (B, H, W, 3) -> float32 (B, 3, H, W), changed as drawn, the whole batch at once."""
    unit = to_unit(images)
    if augmentation.jitter:
        unit = apply_jitter(unit, [d.order for d in draws], [d.factors for d in draws])
    if augmentation.pad or augmentation.flip:
        unit = apply_crop_flip(unit, [d.corner for d in draws], [d.mirrored for d in draws], augmentation.pad)
    standard = standardize(unit)
    if augmentation.erase:
        standard = apply_erasing(standard, [d.box for d in draws])
    if augmentation.channel != "none":
        standard = apply_channel(standard, [d.channel for d in draws])
    return standard


def draw(rng: random.Random, augmentation: Augmentation, height: int, width: int) -> Draw:
    """What happens to one image of `height` x `width`; operations which are switched off draw nothing."""
    order, factors = draw_jitter(rng, augmentation.jitter) if augmentation.jitter else ((), ())
    corner = (rng.randint(0, 2 * augmentation.pad), rng.randint(0, 2 * augmentation.pad)) if augmentation.pad else (0, 0)
    mirrored = rng.random() < augmentation.flip if augmentation.flip else False
    box = draw_erasing(rng, height, width, augmentation.erase) if augmentation.erase else NO_BOX
    channel = UNCHANGED
    if augmentation.channel == "exchange":
        channel = draw_channel_exchange(rng)
    elif augmentation.channel == "adapt_gray":
        channel = draw_channel_adapt_gray(rng)
    return Draw(order, factors, corner, mirrored, box, channel)


def normalize(images: Tensor) -> Tensor:
    """(B, H, W, 3) uint8 -> (B, 3, H, W) float32 with ImageNet mean and deviation: extraction and test see images this way."""
    return standardize(to_unit(images))


def to_unit(images: Tensor) -> Tensor:
    """(B, H, W, 3) uint8 -> (B, 3, H, W) float32 in [0, 1]. ValueError for another shape or type."""
    _check(images)
    return images.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format).div_(255)


def _check(images: Tensor) -> None:
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[-1] != 3:
        raise ValueError(f"images must be uint8 of shape (B, H, W, 3), got {images.dtype} {tuple(images.shape)}")


def _check_count(name: str, values: Sequence, images: Tensor) -> None:
    if len(values) != len(images):
        raise ValueError(f"{len(images)} images need as many {name}, got {len(values)}")


def standardize(images: Tensor) -> Tensor:
    """(B, 3, H, W) in [0, 1] -> the same less the ImageNet mean, over the ImageNet deviation."""
    mean, std = images.new_tensor((IMAGENET_MEAN, IMAGENET_STD)).view(2, 3, 1, 1)
    return (images - mean).div_(std)


# ------------------------------------------------------------------ channels


def draw_channel_exchange(rng: random.Random, gray: int = 2) -> int:
    """Code 0..gray, all alike likely. With gray=2 (what all methods here train with) there is never luminance grey."""
    return rng.randint(0, gray)


def draw_channel_adapt_gray(rng: random.Random) -> int:
    """Code: each channel 1/4, luminance grey 1/8, unchanged 1/8. (The release's "probability" gates the last quarter only.)"""
    code = rng.randint(0, 3)
    return UNCHANGED if code == GREY_CODE and rng.random() > 0.5 else code


def apply_channel(images: Tensor, codes: Sequence[int]) -> Tensor:
    """(B, 3, H, W) float and B codes -> channel 0, 1 or 2, or (3) luminance grey, in all three channels; -1 unchanged."""
    _check_count("channel codes", codes, images)
    table = images.new_tensor([(1, 0, 0), (0, 1, 0), (0, 0, 1), GREY, (0, 0, 0)])  # row -1 is never used
    code = torch.tensor(codes, device=images.device)
    source = (images * table[code][:, :, None, None]).sum(1, keepdim=True)  # (B, 1, H, W); x * 1 + y * 0 + z * 0 is x exactly
    return torch.where((code == UNCHANGED)[:, None, None, None], images, source)


# ------------------------------------------------------------------ erasing


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

    With probability p: an area fraction and a height/width ratio in [aspect, 1/aspect] are drawn until a rectangle strictly
    smaller than the image comes out, `attempts` times at most.
    """
    if rng.uniform(0, 1) > p:
        return NO_BOX
    for _ in range(attempts):
        target = rng.uniform(*area) * height * width
        ratio = rng.uniform(aspect, 1 / aspect)
        box_height, box_width = round((target * ratio) ** 0.5), round((target / ratio) ** 0.5)
        if box_height < height and box_width < width:
            return rng.randint(0, height - box_height), rng.randint(0, width - box_width), box_height, box_width
    return NO_BOX


def apply_erasing(images: Tensor, boxes: Sequence[tuple[int, int, int, int]]) -> Tensor:
    """(B, 3, H, W) and B rectangles (top, left, height, width) -> images with `ERASE_FILL` in the rectangles."""
    _check_count("rectangles", boxes, images)
    top, left, tall, wide = torch.tensor(boxes, device=images.device).view(-1, 4, 1).unbind(1)  # (B, 1) each
    rows = torch.arange(images.shape[2], device=images.device)
    columns = torch.arange(images.shape[3], device=images.device)
    inside_rows = (rows >= top) & (rows < top + tall)  # (B, H)
    inside_columns = (columns >= left) & (columns < left + wide)  # (B, W)
    inside = (inside_rows[:, :, None] & inside_columns[:, None, :])[:, None]  # (B, 1, H, W)
    return torch.where(inside, images.new_tensor(ERASE_FILL).view(3, 1, 1), images)


# ------------------------------------------------------------------ crop and mirror


def apply_crop_flip(images: Tensor, corners: Sequence[tuple[int, int]], mirrored: Sequence[bool], pad: int) -> Tensor:
    """Zero-pad, crop back to size at each sample's corner, mirror.

    Args:
        images: (B, 3, H, W) float.
        corners: B pairs (top, left) of the crop in the padded image, each 0..2 pad.
        mirrored: B booleans; the crop is taken first, then mirrored.
        pad: zeros on each side.
    """
    batch, channels, height, width = images.shape
    device = images.device
    top, left = (torch.tensor(corners, device=device).view(-1, 2, 1) - pad).unbind(1)  # (B, 1) each
    flip = torch.tensor(mirrored, device=device).view(-1, 1)
    rows = torch.arange(height, device=device) + top  # (B, H) source rows
    columns = torch.arange(width, device=device)
    columns = torch.where(flip, width - 1 - columns, columns) + left  # (B, W) source columns
    visible_rows, visible_columns = (rows >= 0) & (rows < height), (columns >= 0) & (columns < width)
    source = rows.clamp(0, height - 1)[:, :, None] * width + columns.clamp(0, width - 1)[:, None, :]  # (B, H, W)
    source = source.view(batch, 1, -1).expand(-1, channels, -1)
    moved = images.reshape(batch, channels, -1).gather(2, source).view_as(images)
    return moved.mul_((visible_rows[:, :, None] & visible_columns[:, None, :])[:, None])


# ------------------------------------------------------------------ colour jitter


def draw_jitter(rng: random.Random, strength: float) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """(order of the four operations, their factors): three factors in [1 - s, 1 + s] and a hue shift in [-s, s] turns."""
    order = tuple(rng.sample(range(len(JITTER_OPERATIONS)), len(JITTER_OPERATIONS)))
    factors = tuple(rng.uniform(1 - strength, 1 + strength) for _ in range(3))
    return order, (*factors, rng.uniform(-strength, strength))


def apply_jitter(images: Tensor, orders: Sequence[tuple[int, ...]], factors: Sequence[tuple[float, ...]]) -> Tensor:
    """Colour jitter with each sample's own order and factors (semantics of torchvision's ColorJitter on float images).

    Args:
        images: (B, 3, H, W) float in [0, 1].
        orders: B permutations of the rows of `JITTER_OPERATIONS`.
        factors: B rows of one factor per operation.

    At each position the samples whose turn it is for the same operation go through it together.
    """
    images = images.clone()
    factor = images.new_tensor(factors)  # (B, 4)
    order = torch.tensor(orders)  # (B, 4) on the host, which knows the group sizes
    for position in range(order.shape[1]):
        rows = order[:, position].argsort(stable=True)
        sizes = order[:, position].bincount(minlength=len(JITTER_OPERATIONS)).tolist()
        groups = rows.to(images.device).split(sizes)  # one transfer for the four groups
        for operation, (group, adjust) in enumerate(zip(groups, JITTER_OPERATIONS, strict=True)):
            if len(group):
                images[group] = adjust(images[group], factor[group, operation].view(-1, 1, 1, 1))
    return images


def adjust_brightness(images: Tensor, factor: Tensor) -> Tensor:
    """(b, 3, H, W) in [0, 1] times a factor (b, 1, 1, 1)."""
    return (images * factor).clamp_(0, 1)


def adjust_contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Blend of (b, 3, H, W) with the mean of its grey image; factor (b, 1, 1, 1)."""
    mean = _grey(images).mean((1, 2, 3), keepdim=True)
    return torch.lerp(mean, images, factor).clamp_(0, 1)


def adjust_saturation(images: Tensor, factor: Tensor) -> Tensor:
    """Blend of (b, 3, H, W) with its grey image; factor (b, 1, 1, 1)."""
    return torch.lerp(_grey(images), images, factor).clamp_(0, 1)


def adjust_hue(images: Tensor, shift: Tensor) -> Tensor:
    """Hue of (b, 3, H, W) turned by `shift` (b, 1, 1, 1) of a full circle; value and chroma stay.

    With value V, chroma C and hue h in sixths of the circle, a channel is V - C max(0, min(k, 4 - k, 1)), k = (n + h) mod 6,
    where n = 5, 3, 1 for red, green, blue: the HSV hexcone without its six cases.
    """
    red, green, blue = images.unbind(1)  # (b, H, W) each
    value = images.amax(1)
    chroma = value - images.amin(1)
    scale = chroma.clamp_min(torch.finfo(chroma.dtype).tiny)  # grey pixels: 0 / tiny = 0, and C = 0 removes the hue anyway
    hue = torch.where(value == green, (blue - red) / scale + 2, (red - green) / scale + 4)
    hue = torch.where(value == red, (green - blue) / scale, hue) + 6 * shift.squeeze(1)
    k = (hue[:, None] + images.new_tensor((5, 3, 1)).view(3, 1, 1)).remainder_(6)  # (b, 3, H, W)
    fraction = torch.minimum(k, 4 - k).clamp_(0, 1)
    return (value[:, None] - chroma[:, None] * fraction).clamp_(0, 1)


def _grey(images: Tensor) -> Tensor:
    red, green, blue = images.split(1, dim=1)
    return red * GREY[0] + green * GREY[1] + blue * GREY[2]  # (b, 1, H, W)


Adjust = Callable[[Tensor, Tensor], Tensor]
JITTER_OPERATIONS: tuple[Adjust, ...] = (adjust_brightness, adjust_contrast, adjust_saturation, adjust_hue)
