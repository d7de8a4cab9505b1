"""Translation of visible images towards infrared ones: the second view of each visible image (--translation).

    channel     a random channel in all three (channel exchange; Ye et al., ICCV 2021)
    gray        the luminance in all three
    fourier     the low frequencies of the amplitude of a random infrared image, with the image's own phases
                (Yang and Soatto, CVPR 2020, https://arxiv.org/abs/2004.05498)
    folder:DIR  images that any other program made: the same relative path below DIR

In training steps channel exchange is part of the augmentation (`augment.py`), where it comes last; all others
happen to the decoded pixels, before it. B images, N images of the modality, H height, W width.
"""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sdcl.data.image_cache import ImageCache
from sdcl.data.pixels import LUMINANCE
from sdcl.runtime.devices import upload
from sdcl.runtime.errors import DataError
from sdcl.runtime.files import printable
from sdcl.runtime.seeds import derive_seeds

FOLDER = "folder:"
FOURIER_SHARES = (0.01, 0.1)  # of the shorter side: reach of the frequencies that are exchanged
NAMED = 5  # missing files that a message names


@dataclass(frozen=True)
class Translation:
    """A translation of decoded visible images.

    Args:
        kind: value of --translation.
        infrared: images whose amplitudes "fourier" takes. folder: the N images of "folder:DIR".
    """

    kind: str
    infrared: ImageCache | None = None
    folder: ImageCache | None = None

    def __call__(self, images: Tensor, rows: np.ndarray, seeds: Sequence[int]) -> Tensor:
        """Translated images, each a function of itself, its row and its seed.

        Args:
            images: uint8 (B, H, W, 3). rows: int (B,), their indexes. seeds: one each.

        Returns:
            uint8 (B, H, W, 3).
        """
        generators = [random.Random(int(seed)) for seed in seeds]
        if self.kind.startswith(FOLDER):
            assert self.folder is not None
            return self.folder.take(rows)
        if self.kind == "gray":
            return gray(images)
        if self.kind == "fourier":
            assert self.infrared is not None
            chosen = np.array([g.randrange(len(self.infrared)) for g in generators])
            shares = [g.uniform(*FOURIER_SHARES) for g in generators]
            return with_amplitudes(images, self.infrared.take(chosen), shares)
        channels = upload([g.randrange(3) for g in generators], images.device)
        return images.gather(3, channels[:, None, None, None].expand_as(images))


class TranslatedImages:
    """The images of a cache as extraction sees them translated: the same translation of an image every time.

    Args:
        seed: of the run.
    """

    def __init__(self, cache: ImageCache, translation: Translation, seed: int):
        self.cache, self.translation, self.device = cache, translation, cache.device
        self.seeds = np.array(derive_seeds(seed, count=len(cache)), np.uint64)

    def __len__(self) -> int:
        return len(self.cache)

    def take(self, rows: np.ndarray) -> Tensor:
        """Translated images at the indexes int (B,), as uint8 (B, H, W, 3) on the device."""
        return self.translation(self.cache.take(rows), rows, self.seeds[rows].tolist())


def gray(images: Tensor) -> Tensor:
    """The luminance in all three channels: uint8 (B, H, W, 3) -> the same."""
    luminance = (images.float() * upload(LUMINANCE, images.device)).sum(3, keepdim=True)
    return luminance.round().to(torch.uint8).expand(images.shape)


def with_amplitudes(images: Tensor, references: Tensor, shares: Sequence[float]) -> Tensor:
    """Images whose spectrum has the amplitude of another one in its low frequencies.

    Args:
        images, references: uint8 (B, H, W, 3). shares: of the shorter side, up to which frequencies, in
            periods over the image, are low; frequency 0, the mean, always is.

    Returns:
        uint8 (B, H, W, 3).
    """
    height, width = images.shape[1:3]
    own, other = (torch.fft.fft2(x.permute(0, 3, 1, 2).float()) for x in (images, references))
    vertical, horizontal = (torch.fft.fftfreq(n, 1 / n, device=images.device).abs() for n in (height, width))
    reach = upload([int(share * min(height, width)) for share in shares], images.device)
    low = (vertical[None, :, None] <= reach[:, None, None]) & (
        horizontal <= reach[:, None, None]
    )  # (B, H, W)
    amplitudes = torch.where(low[:, None], other.abs(), own.abs())
    pixels = torch.fft.ifft2(torch.polar(amplitudes, own.angle())).real
    return pixels.round().clamp(0, 255).permute(0, 2, 3, 1).to(torch.uint8)


def paths_in_folder(paths: Sequence[str], data_dir: Path, kind: str) -> list[str]:
    """The translated file of each image: its path below `data_dir`, below the folder of "folder:DIR".

    Raises:
        DataError: files that are not there, or images outside `data_dir`.
    """
    folder, root = kind.removeprefix(FOLDER), data_dir.absolute()
    root = root.parent if root.is_file() else root  # a table of custom images
    outside = [path for path in paths if not Path(path).is_relative_to(root)]
    if outside:
        raise DataError(
            f"--translation {kind} needs images below {printable(root)}, which {printable(outside[0])} is "
            "not; choose another translation"
        )
    found = [os.path.join(folder, Path(path).relative_to(root)) for path in paths]
    missing = [path for path in found if not os.path.isfile(path)]
    if missing:
        listed = "\n  ".join(map(printable, missing[:NAMED]))
        raise DataError(
            f"--translation {kind} lacks {len(missing)} of {len(found)} visible training images; translate "
            f"them all, under the same relative paths:\n  {listed}"
        )
    return found
