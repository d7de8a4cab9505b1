"""The augmentation in PyTorch, the whole batch at once, for images on a GPU; augment_cpu.py has loops.

Legend: B batch, b part of it, H height, W width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sdcl.data.normalization import Normalization
from sdcl.data.pixels import ERASE_FILL, LUMINANCE, UNCHANGED
from sdcl.runtime.devices import upload

if TYPE_CHECKING:
    from sdcl.data.augment_draws import Augmentation, AugmentDraw


def augmented(
    images: Tensor, augmentation: Augmentation, draws: Sequence[AugmentDraw], normalization: Normalization
) -> Tensor:
    """uint8 (B, H, W, 3) -> float32 (B, 3, H, W), changed as drawn."""
    unit = to_unit(images)
    if augmentation.jitter:
        unit = apply_jitter(unit, [d.order for d in draws], [d.factors for d in draws])
    if augmentation.pad or augmentation.flip:
        unit = apply_crop_flip(unit, [d.corner for d in draws], [d.flipped for d in draws], augmentation.pad)
    standard = standardize(unit, normalization)
    if augmentation.erase:
        standard = apply_erasing(standard, [d.box for d in draws])
    if augmentation.channel != "none":
        standard = apply_channel(standard, [d.channel for d in draws])
    return standard


def to_unit(images: Tensor) -> Tensor:
    """uint8 (B, H, W, 3) -> float32 (B, 3, H, W) in [0, 1]."""
    return images.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format).div_(255)


def standardize(images: Tensor, normalization: Normalization) -> Tensor:
    """(B, 3, H, W) in [0, 1] less the mean, over the deviation."""
    mean, std = upload((normalization.mean, normalization.std), images.device, images.dtype).view(2, 3, 1, 1)
    return (images - mean).div_(std)


def apply_channel(images: Tensor, codes: Sequence[int]) -> Tensor:
    """(B, 3, H, W) with channel 0, 1 or 2, or (3) luminance in all three, by image; -1: unchanged."""
    _check_count("channel codes", codes, images)
    rows = [(1, 0, 0), (0, 1, 0), (0, 0, 1), LUMINANCE, (0, 0, 0)]  # row -1 is never used
    table, code = upload(rows, images.device, images.dtype), upload(codes, images.device)
    # (B, 1, H, W); x * 1 + y * 0 + z * 0 is x exactly
    source = (images * table[code][:, :, None, None]).sum(1, keepdim=True)
    return torch.where((code == UNCHANGED)[:, None, None, None], images, source)


def apply_erasing(images: Tensor, boxes: Sequence[tuple[int, int, int, int]]) -> Tensor:
    """(B, 3, H, W) with `ERASE_FILL` in B rectangles (top, left, height, width)."""
    _check_count("rectangles", boxes, images)
    box = upload(boxes, images.device).view(-1, 4, 1)
    top, left, height, width = box.unbind(1)  # (B, 1) each
    rows = torch.arange(images.shape[2], device=images.device)
    columns = torch.arange(images.shape[3], device=images.device)
    inside_rows = (rows >= top) & (rows < top + height)  # (B, H)
    inside_columns = (columns >= left) & (columns < left + width)  # (B, W)
    inside = (inside_rows[:, :, None] & inside_columns[:, None, :])[:, None]  # (B, 1, H, W)
    return torch.where(inside, upload(ERASE_FILL, images.device, images.dtype).view(3, 1, 1), images)


def apply_crop_flip(
    images: Tensor, corners: Sequence[tuple[int, int]], flipped: Sequence[bool], pad: int
) -> Tensor:
    """Zero-pad, crop back to size at each sample's corner, then flip horizontally.

    Args:
        images: float (B, 3, H, W).
        corners: B pairs (top, left) of the crop in the padded image, each 0 .. 2 pad.
        flipped: B booleans.
        pad: zeros on each side.
    """
    batch, channels, height, width = images.shape
    device = images.device
    top, left = (upload(corners, device).view(-1, 2, 1) - pad).unbind(1)  # (B, 1) each
    flip = upload(flipped, device).view(-1, 1)
    rows = torch.arange(height, device=device) + top  # (B, H) source rows
    columns = torch.arange(width, device=device)
    columns = torch.where(flip, width - 1 - columns, columns) + left  # (B, W) source columns
    visible_rows, visible_columns = (rows >= 0) & (rows < height), (columns >= 0) & (columns < width)
    source = rows.clamp(0, height - 1)[:, :, None] * width + columns.clamp(0, width - 1)[:, None, :]
    source = source.view(batch, 1, -1).expand(-1, channels, -1)  # (B, 3, H W)
    moved = images.reshape(batch, channels, -1).gather(2, source).view_as(images)
    return moved.mul_((visible_rows[:, :, None] & visible_columns[:, None, :])[:, None])


def apply_jitter(
    images: Tensor, orders: Sequence[tuple[int, ...]], factors: Sequence[tuple[float, ...]]
) -> Tensor:
    """Colour jitter with each sample's order and factors, as torchvision's ColorJitter on float images.

    At each position of the order, the samples whose turn it is for the same operation go through it together.

    Args:
        images: float (B, 3, H, W) in [0, 1].
        orders: B permutations of the indexes of `JITTER_OPERATIONS`.
        factors: B rows of one factor per operation.
    """
    images = images.clone()
    factor = upload(factors, images.device, images.dtype)  # (B, 4)
    order = torch.tensor(orders).T  # (4, B) on the CPU, where the group sizes are needed
    rows = upload(order.argsort(dim=1, stable=True), images.device)  # (4, B), one copy for all groups
    for turn, of_turn in zip(order, rows, strict=True):
        groups = of_turn.split(turn.bincount(minlength=len(JITTER_OPERATIONS)).tolist())
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
    """Hue of (b, 3, H, W) rotated by `shift` (b, 1, 1, 1) of a full circle; value and chroma stay.

    With value V, chroma C and hue h in sixths of the circle, a channel is V - C max(0, min(k, 4 - k, 1)), k =
    (n + h) mod 6, where n = 5, 3, 1 for red, green, blue: the HSV hexcone without its six cases.
    """
    red, green, blue = images.unbind(1)  # (b, H, W) each
    value = images.amax(1)
    chroma = value - images.amin(1)
    # grey pixels: 0 / tiny = 0, and C = 0 removes the hue anyway
    scale = chroma.clamp_min(torch.finfo(chroma.dtype).tiny)
    hue = torch.where(value == green, (blue - red) / scale + 2, (red - green) / scale + 4)
    hue = torch.where(value == red, (green - blue) / scale, hue) + 6 * shift.squeeze(1)
    k = (hue[:, None] + upload((5, 3, 1), images.device, images.dtype).view(3, 1, 1)).remainder_(
        6
    )  # (b, 3, H, W)
    fraction = torch.minimum(k, 4 - k).clamp_(0, 1)
    return (value[:, None] - chroma[:, None] * fraction).clamp_(0, 1)


def _grey(images: Tensor) -> Tensor:
    red, green, blue = images.split(1, dim=1)
    return red * LUMINANCE[0] + green * LUMINANCE[1] + blue * LUMINANCE[2]  # (b, 1, H, W)


def _check_count(name: str, values: Sequence, images: Tensor) -> None:
    if len(values) != len(images):
        raise ValueError(f"{len(images)} images need as many {name}, got {len(values)}")


# in the order of `pixels.JITTER`
JITTER_OPERATIONS: tuple[Callable[[Tensor, Tensor], Tensor], ...] = (
    adjust_brightness,
    adjust_contrast,
    adjust_saturation,
    adjust_hue,
)
