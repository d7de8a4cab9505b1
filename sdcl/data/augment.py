"""Augmentation of training images: random decisions per image, carried out on the device of the batch.

    uint8 -> [0, 1] -> colour jitter -> zero pad + crop -> horizontal flip -> mean/std
        -> random erasing -> channel operation

Mean and deviation belong to the network's weights (`normalization.py`), so they are arguments.

`draw` decides what happens to an image. Every sample has its own `random.Random(seed)`, so an image depends
neither on its batch nor on its position in it nor on the rank. Images on the CPU go through compiled loops,
one image after another (`augment_cpu.py`), images on a GPU through PyTorch, the whole batch at once
(`augment_gpu.py`).

Two consequences of the order, both as in the released ADCA, GUR and SDCL training code: the pad is black (0
before the mean is subtracted), and erasing writes the [0, 1]-scale colour `ERASE_FILL` into an already
standardised image: the same numbers enter the network whatever the mean and deviation are. The channel
operation comes last and so also acts on the erased rectangle.

One deliberate difference: jitter is applied at the training size, after the resize. The released code jitters
before the resize; pointwise operations commute with a linear resize except for clamping, for rounding to
uint8 between operations, and for the hue.

Sources: random erasing (Zhong et al., AAAI 2020, https://arxiv.org/abs/1708.04896); channel exchange and
adaptive grey (Ye et al., Channel Augmented Joint Learning, ICCV 2021).

Legend: B batch, H height, W width.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch
from torch import Tensor

from sdcl.data import augment_cpu, augment_gpu
from sdcl.data.augment_draws import (
    Augmentation,
    AugmentDraw,
    augmentation,
    draw,
)
from sdcl.data.augment_gpu import standardize
from sdcl.data.normalization import IMAGENET, Normalization
from sdcl.data.pixels import ERASE_FILL

__all__ = [
    "ERASE_FILL",
    "AugmentDraw",
    "Augmentation",
    "augment",
    "augmentation",
    "draw",
    "normalize",
    "standardize",
]


def augment(
    images: Tensor,
    augmentation: Augmentation,
    seeds: Sequence[int],
    normalization: Normalization = IMAGENET,
) -> Tensor:
    """Augmented, standardised images.

    Args:
        images: uint8 (B, H, W, 3), on the device that computes.
        seeds: B integers, one random generator each.
        normalization: of the network that the images are for.

    Returns:
        float32 (B, 3, H, W).

    Raises:
        ValueError: images of another shape or type, or another number of seeds.
    """
    _check(images)
    if len(seeds) != len(images):
        raise ValueError(f"{len(images)} images need as many seeds, got {len(seeds)}")
    draws = [draw(random.Random(int(seed)), augmentation, *images.shape[1:3]) for seed in seeds]
    kernels = augment_cpu if images.device.type == "cpu" else augment_gpu
    return kernels.augmented(images, augmentation, draws, normalization)


def normalize(images: Tensor, normalization: Normalization = IMAGENET) -> Tensor:
    """Images as extraction and test see them: uint8 (B, H, W, 3) -> standardised float32 (B, 3, H, W).

    Raises:
        ValueError: images of another shape or type.
    """
    _check(images)
    return standardize(augment_gpu.to_unit(images), normalization)


def _check(images: Tensor) -> None:
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[-1] != 3:
        shape = tuple(images.shape)
        raise ValueError(f"images must be uint8 of shape (B, H, W, 3), got {images.dtype} {shape}")
