"""The augmentation as compiled loops, one image after another while it lies in the cache, on the CPU.

An order of magnitude faster there than the PyTorch form, augment_gpu.py, whose results it gives up to
rounding.

Legend: B batch, H height, W width, P = H W pixels; r, g, b are the planes (P,) of one image, float32 in [0,
1].
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from sdcl.data.normalization import Normalization
from sdcl.data.pixels import ERASE_FILL, JITTER, LUMINANCE
from sdcl.runtime.numba_loops import compiled, in_blocks

if TYPE_CHECKING:
    from sdcl.data.augment_draws import Augmentation, AugmentDraw

ZERO, ONE, TWO, FOUR, SIX, FULL = (np.float32(value) for value in (0, 1, 2, 4, 6, 255))
TINY = np.finfo(np.float32).tiny


@cache
def _color(normalization: Normalization) -> np.ndarray:
    """float32 (4, 3): mean, deviation, erasing colour, luminance weights of R, G, B."""
    return np.array((normalization.mean, normalization.std, ERASE_FILL, LUMINANCE), np.float32)


def augmented(
    images: Tensor, augmentation: Augmentation, draws: Sequence[AugmentDraw], normalization: Normalization
) -> Tensor:
    """uint8 (B, H, W, 3) -> float32 (B, 3, H, W), changed as drawn."""
    batch, height, width, planes = images.shape
    operations = len(JITTER) if augmentation.jitter else 0
    orders = np.array([d.order for d in draws], np.int64).reshape(batch, operations)
    factors = np.array([d.factors for d in draws], np.float32).reshape(batch, operations)
    windows = np.array([(*d.corner, d.flipped) for d in draws], np.int64).reshape(-1, 3)
    boxes = np.array([d.box for d in draws], np.int64).reshape(-1, 4)
    channels = np.array([d.channel for d in draws], np.int64)
    out = np.empty((batch, planes, height, width), np.float32)
    source = np.ascontiguousarray(images.numpy())
    decisions = (orders, factors, windows, boxes, channels, augmentation.pad)
    in_blocks(_augmented, batch, source, out, *decisions, _color(normalization))
    return torch.from_numpy(out)


@compiled
def _augmented(first, last, images, out, orders, factors, windows, boxes, channels, pad, color):
    """The images of a block.

    Args:
        images, out: uint8 (B, H, W, 3), float32 (B, 3, H, W).
        orders: int64 (B, 4), jitter operations in their order; (B, 0) none. factors: float32 (B, 4), one per
            operation.
        windows: int64 (B, 3): top and left of the crop in the padded image, whether it is flipped.
        boxes: int64 (B, 4): top, left, height, width to erase.
        channels: int64 (B,): 0, 1, 2 copy that channel, 3 luminance, -1 none.
        pad: black pixels on each side.
        color: of `_color`.
    """
    height, width = images.shape[1:3]
    pixels = height * width
    unit, grey = np.empty((3, pixels), np.float32), np.empty(pixels, np.float32)
    for i in range(first, last):
        r, g, b = unit[0], unit[1], unit[2]
        flat = images[i].reshape(pixels, 3)
        for p in range(pixels):
            r[p], g[p], b[p] = flat[p, 0] / FULL, flat[p, 1] / FULL, flat[p, 2] / FULL
        for operation in orders[i]:
            factor = factors[i, operation]
            if operation == 0:
                _brightness(r, g, b, factor)
            elif operation == 3:
                _hue(r, g, b, SIX * factor)
            else:
                for p in range(pixels):
                    grey[p] = r[p] * color[3, 0] + g[p] * color[3, 1] + b[p] * color[3, 2]
                if operation == 1:
                    total = 0.0  # in float64
                    for p in range(pixels):
                        total += grey[p]
                    grey[:] = total / pixels
                _blend(r, g, b, grey, ONE - factor)
        _crop(unit, out[i], windows[i], boxes[i], pad, color)
        _channel(out[i].reshape(3, pixels), channels[i], color[3])


@compiled
def _clamp(value):
    value = value if value > ZERO else ZERO
    return value if value < ONE else ONE


@compiled
def _brightness(r, g, b, factor):
    for plane in (r, g, b):
        for p in range(len(plane)):
            plane[p] = _clamp(plane[p] * factor)


@compiled
def _blend(r, g, b, other, share):
    """The image with a share of the other image, which may be negative."""
    for plane in (r, g, b):
        for p in range(len(plane)):
            plane[p] = _clamp(plane[p] - (plane[p] - other[p]) * share)


@compiled
def _hue(r, g, b, sixths):
    """`augment_gpu.adjust_hue`, pixel by pixel without a branch."""
    for p in range(len(r)):
        red, green, blue = r[p], g[p], b[p]
        value = red if red > green else green
        value = value if value > blue else blue
        least = red if red < green else green
        least = least if least < blue else blue
        chroma = value - least
        scale = chroma if chroma > TINY else TINY
        hue = (blue - red) / scale + TWO if value == green else (red - green) / scale + FOUR
        hue = ((green - blue) / scale if value == red else hue) + sixths
        r[p] = _channel_of_hue(value, chroma, hue + np.float32(5))
        g[p] = _channel_of_hue(value, chroma, hue + np.float32(3))
        b[p] = _channel_of_hue(value, chroma, hue + ONE)


@compiled
def _channel_of_hue(value, chroma, k):
    k = k - SIX * np.floor(k / SIX)
    rest = FOUR - k
    return _clamp(value - chroma * _clamp(k if k < rest else rest))


@compiled
def _crop(unit, out, window, box, pad, color):
    """Write the crop of the padded image, flipped or not, standardised, with the erased rectangle."""
    height, width = out.shape[1:]
    left, flipped = window[1] - pad, window[2]
    start, stop = max(0, -left), max(0, min(width, width - left))  # columns of the crop that show the image
    for c in range(3):
        mean, deviation = color[0, c], color[1, c]
        plane = unit[c]
        for p in range(len(plane)):
            plane[p] = (plane[p] - mean) / deviation
        image = plane.reshape(height, width)
        for y in range(height):
            row, target = y + window[0] - pad, out[c, y]
            target[:] = (ZERO - mean) / deviation
            if 0 <= row < height and start < stop:
                part = image[row, start + left : stop + left]
                if flipped:
                    target[width - stop : width - start] = part[::-1]
                else:
                    target[start:stop] = part
            if box[0] <= y < box[0] + box[2]:
                target[box[1] : box[1] + box[3]] = color[2, c]


@compiled
def _channel(out, code, weights):
    if code == 3:
        for p in range(out.shape[1]):
            out[0, p] = out[0, p] * weights[0] + out[1, p] * weights[1] + out[2, p] * weights[2]
        code = 0
        out[1], out[2] = out[0], out[0]
    elif code >= 0:
        for c in range(3):
            if c != code:
                out[c] = out[code]
