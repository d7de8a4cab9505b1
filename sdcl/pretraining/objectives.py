"""Pretraining objectives: track contrast, DINO, and classification of rendered identities.

An objective samples a batch (indices and seeds on the CPU, augmented images on the device) and maps it to a
loss. All objectives train both the class token and the mean of the patch tokens: with the class token alone a
small ViT stays at chance for hundreds of steps.

lightly offers DINO's head, loss and schedules; they are written here because lightly depends on PyTorch
Lightning.

B images of a batch, K cameras, T tracks of a camera, D features, P prototypes, L local crops, H, W image
size.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sdcl.data.augment import augment, augmentation
from sdcl.data.normalization import IMAGENET, Normalization
from sdcl.models.vit import SingleStemViT
from sdcl.pretraining.crops import Crops
from sdcl.runtime.distributed import gather_rows
from sdcl.runtime.errors import DataError, SettingError
from sdcl.runtime.seeds import derive_seeds

OUTPUTS = ("class", "patches")  # class token, mean of the patch tokens


@dataclass(frozen=True)
class ViewAugmentation:
    """Random augmentation of crops whose strength grows.

    Args:
        color_jitter: final strength of colour jitter; it starts at half of it.
        erase: final probability of random erasing; it starts at 0.
        pad: pixels of padding before the random crop.
        normalization: of the backbone.
        ramp: share of the steps after which both reach their final value.
    """

    color_jitter: float
    erase: float
    pad: int
    normalization: Normalization = IMAGENET
    ramp: float = 0.3

    def __call__(self, crops: Crops, indices: np.ndarray, progress: float, seed: tuple[int, ...]) -> Tensor:
        """Augmented images (B, 3, H, W): half of them in colour, half as one random channel.

        The random channel favours shape over hue.

        Args:
            indices: int (B,) of the crops.
            progress: share of the steps that are completed.
            seed: numbers that determine all random choices.
        """
        strength = min(1.0, progress / self.ramp) if self.ramp else 1.0
        jitter, erase = self.color_jitter * max(strength, 0.5), self.erase * strength
        seeds = derive_seeds(*seed, count=len(indices))
        gray = np.random.default_rng(seed).random(len(indices)) < 0.5
        images = crops.images.take(indices)
        out = torch.empty(len(indices), 3, *images.shape[1:3], device=images.device)
        for view, selected in (("plain", ~gray), ("exchanged", gray)):
            positions = np.flatnonzero(selected)
            if len(positions):
                transform = augmentation("visible", view, color_jitter=jitter, erase=erase, pad=self.pad)
                chosen = [seeds[i] for i in positions]
                out[positions] = augment(images[positions], transform, chosen, self.normalization)
        return out


class Objective(nn.Module):
    """Samples batches and computes their loss."""

    backbone: SingleStemViT

    def sample_batch(self, crops: Crops, progress: float, seed: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """The arguments of `forward` for one step; `progress` is the share of completed steps."""
        raise NotImplementedError

    def before_step(self, progress: float) -> None:
        """Called between backward and the optimiser's step."""

    def after_step(self, progress: float) -> None:
        """Called after the optimiser's step."""


class Projector(nn.Sequential):
    """Features (B, D) -> unit rows (B, 128) that the contrastive loss compares."""

    def __init__(self, dim: int):
        super().__init__(nn.Linear(dim, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Linear(512, 128))

    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(super().forward(x).float(), dim=1)


class TrackContrast(Objective):
    """Contrast two frames of a track with the other tracks of the same camera.

    InfoNCE (van den Oord et al., 2018, https://arxiv.org/abs/1807.03748, Eq. 4). As all compared images share
    a camera with its light and background, only the person distinguishes them.

    Raises:
        DataError: no camera has two tracks.
    """

    def __init__(
        self,
        backbone: SingleStemViT,
        crops: Crops,
        augmentation: ViewAugmentation,
        batch_size: int,
        cameras: int,
        temperature: float,
    ):
        super().__init__()
        self.backbone, self.augmentation, self.temperature = backbone, augmentation, temperature
        self.projectors = nn.ModuleDict({name: Projector(backbone.feature_dim) for name in OUTPUTS})
        self.frames = _indices_by_group(crops.track)  # of each track
        first_frames = np.array([frames[0] for frames in self.frames])
        by_camera = _indices_by_group(crops.camera[first_frames])
        self.tracks = [tracks for tracks in by_camera if len(tracks) > 1]  # of each camera
        if not self.tracks:
            raise DataError(
                "--objective tracks needs a camera with at least two tracks; put the crops of a camera into "
                "DIR/CAMERA and those of its tracks into DIR/CAMERA/TRACK"
            )
        self.cameras, self.tracks_per_camera = cameras, max(2, batch_size // (2 * cameras))

    def sample_batch(self, crops: Crops, progress: float, seed: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """Images (B, 3, H, W), two frames of each track in succession, and tracks per camera int64 (K,)."""
        rng = np.random.default_rng(seed)
        indices: list[int] = []
        counts = []
        with_replacement = self.cameras > len(self.tracks)
        for camera in rng.choice(len(self.tracks), self.cameras, replace=with_replacement):
            tracks = rng.permutation(self.tracks[camera])[: self.tracks_per_camera]
            counts.append(len(tracks))
            for track in tracks:
                frames = self.frames[track]
                # a single frame: two augmentations
                indices.extend(rng.choice(frames, 2, replace=len(frames) < 2))
        images = self.augmentation(crops, np.array(indices), progress, (*seed, 1))
        return images, torch.tensor(counts)

    def forward(self, images: Tensor, counts: Tensor) -> Tensor:
        features = _outputs(self.backbone, images)
        losses = []
        for name, projector in self.projectors.items():
            for rows in projector(features[name]).split([2 * n for n in counts.tolist()]):
                similarity = rows @ rows.T / self.temperature  # (2 T, 2 T)
                similarity.fill_diagonal_(-torch.inf)
                positive = torch.arange(len(rows), device=rows.device) ^ 1
                losses.append(F.cross_entropy(similarity, positive))
        return torch.stack(losses).mean()


class DINOHead(nn.Module):
    """(B, D) -> (B, P): three layers, unit rows, weight-normalised prototypes (Caron et al., ICCV 2021)."""

    def __init__(self, dim: int, prototypes: int, hidden: int = 512, bottleneck: int = 128):
        super().__init__()
        layers = [nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU()]
        self.mlp = nn.Sequential(*layers, nn.Linear(hidden, bottleneck))
        self.prototypes = nn.Parameter(torch.randn(prototypes, bottleneck))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(F.normalize(self.mlp(x).float(), dim=1), F.normalize(self.prototypes, dim=1))


class DINO(Objective):
    """Self-distillation without labels (Caron et al., ICCV 2021, https://arxiv.org/abs/2104.14294).

    TransReID-SSL (https://arxiv.org/abs/2111.12084) pretrained SDCL's backbone so. A student sees two global
    views and some local crops; its moving average, the teacher, sees the global views only. The student's
    output for each view predicts the centred, sharpened output of the teacher for the other global views (Eq.
    3). The two global views are two frames of a track where it has several.

    Args:
        local_crops: small crops per track.
        prototypes: output dimension.
        momentum: of the teacher at the first step; it rises to 1 along half a cosine.
        frozen: first share of the steps in which the prototypes are not trained.
    """

    student_temperature, teacher_temperature, center_momentum = 0.1, (0.04, 0.07), 0.9

    def __init__(
        self,
        backbone: SingleStemViT,
        crops: Crops,
        augmentation: ViewAugmentation,
        batch_size: int,
        local_crops: int,
        prototypes: int,
        momentum: float,
        frozen: float,
    ):
        super().__init__()
        self.backbone, self.augmentation, self.batch_size = backbone, augmentation, batch_size
        self.local_crops, self.momentum, self.frozen = local_crops, momentum, frozen
        self.frames = _indices_by_group(crops.track)
        self.heads = nn.ModuleDict({name: DINOHead(backbone.feature_dim, prototypes) for name in OUTPUTS})
        student = nn.ModuleDict({"backbone": backbone, "heads": self.heads})
        self.teacher = copy.deepcopy(student).requires_grad_(False)
        self.center: Tensor
        self.done: Tensor  # share of the steps that are completed; a buffer, so that it is in the checkpoint
        self.register_buffer("center", torch.zeros(len(OUTPUTS), prototypes))
        self.register_buffer("done", torch.zeros(()))
        self._next_center = self.center

    def sample_batch(self, crops: Crops, progress: float, seed: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """Global views (2 B, 3, H, W) and local crops (L B, 3, h, w), view after view."""
        rng = np.random.default_rng(seed)
        with_replacement = self.batch_size > len(self.frames)
        tracks = rng.choice(len(self.frames), self.batch_size, replace=with_replacement)
        pairs = [
            rng.choice(frames, 2, replace=len(frames) < 2) for frames in (self.frames[t] for t in tracks)
        ]
        indices = np.stack(pairs, axis=1)  # (2, B)
        views = [self.augmentation(crops, row, progress, (*seed, 1 + i)) for i, row in enumerate(indices)]
        local = []
        for i in range(self.local_crops):
            images = self.augmentation(crops, indices[i % 2], progress, (*seed, 9 + i))
            local.append(self._local_crops(images, rng))
        none = views[0].new_zeros(0, *views[0].shape[1:])
        return torch.cat(views), torch.cat(local) if local else none

    def _local_crops(self, images: Tensor, rng: np.random.Generator) -> Tensor:
        """A crop of each image, 30 to 60 % of its height, resized to about half the size in whole patches."""
        patch, (height, width) = self.backbone.shape.patch, images.shape[2:]
        size = tuple(max(1, round(n / 2 / patch)) * patch for n in (height, width))
        crops = []
        for image in images:
            share = 0.3 + 0.3 * float(rng.random())
            h = max(1, round(share * height))
            w = max(1, min(width, round(share * height * size[1] / size[0])))
            top, left = int(rng.integers(0, height - h + 1)), int(rng.integers(0, width - w + 1))
            crop = image[None, :, top : top + h, left : left + w]
            crops.append(F.interpolate(crop, size, mode="bilinear", align_corners=False))
        return torch.cat(crops)

    def forward(self, views: Tensor, local: Tensor) -> Tensor:
        targets = self._teacher_targets(views)
        inputs = [(views, 2)] + ([(local, self.local_crops)] if len(local) else [])
        predictions: list[Tensor] = []  # log-probabilities (2, B, P) of each view
        for images, count in inputs:
            features = _outputs(self.backbone, images)
            outputs = torch.stack([self.heads[name](features[name]) for name in OUTPUTS])
            predictions.extend((outputs / self.student_temperature).log_softmax(-1).chunk(count, dim=1))
        losses = [
            -(target * prediction).sum(-1).mean()
            for i, target in enumerate(targets)
            for j, prediction in enumerate(predictions)
            if i != j
        ]
        return torch.stack(losses).mean()

    @torch.no_grad()
    def _teacher_targets(self, views: Tensor) -> tuple[Tensor, ...]:
        """Probabilities (2, B, P) of the teacher for each global view; prepares the next centre (Eq. 4)."""
        features = _outputs(cast(SingleStemViT, self.teacher["backbone"]), views)
        heads = cast(nn.ModuleDict, self.teacher["heads"])
        outputs = torch.stack([heads[name](features[name]) for name in OUTPUTS])  # (2, 2 B, P)
        low, high = self.teacher_temperature
        temperature = low + (high - low) * min(1.0, float(self.done) / 0.3)
        mean = gather_rows(outputs.mean(1)[None]).mean(0)
        self._next_center = self.center_momentum * self.center + (1 - self.center_momentum) * mean
        return ((outputs - self.center[:, None]) / temperature).softmax(-1).chunk(2, dim=1)

    def before_step(self, progress: float) -> None:
        """Freeze the prototypes at the beginning."""
        if progress < self.frozen:
            for head in self.heads.values():
                head.prototypes.grad = None

    @torch.no_grad()
    def after_step(self, progress: float) -> None:
        """Update the centre, and the teacher as the moving average of the student."""
        self.center.copy_(self._next_center)
        self.done.fill_(progress)
        momentum = 1 - (1 - self.momentum) * (math.cos(math.pi * progress) + 1) / 2
        for name, student in (("backbone", self.backbone), ("heads", self.heads)):
            teacher = self.teacher[name]
            for old, new in zip(teacher.parameters(), student.parameters()):
                old.lerp_(new, 1 - momentum)
            for old_buffer, new_buffer in zip(teacher.buffers(), student.buffers()):
                old_buffer.copy_(new_buffer)


class IdentityClassification(Objective):
    """Classify rendered identities in visible images: supervised, by labels that no benchmark set shares.

    Raises:
        SettingError: crops without identities.
    """

    def __init__(
        self, backbone: SingleStemViT, crops: Crops, augmentation: ViewAugmentation, batch_size: int
    ):
        super().__init__()
        if crops.identity is None:
            raise SettingError(
                "--objective identity needs labels, which only rendered crops have; "
                "leave out --images, or choose --objective tracks"
            )
        self.backbone, self.augmentation, self.batch_size = backbone, augmentation, batch_size
        dim, classes = backbone.feature_dim, int(crops.identity.max()) + 1
        heads = {n: nn.Sequential(nn.BatchNorm1d(dim), nn.Linear(dim, classes, bias=False)) for n in OUTPUTS}
        self.heads = nn.ModuleDict(heads)

    def sample_batch(self, crops: Crops, progress: float, seed: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """Images (B, 3, H, W) and their identities int64 (B,)."""
        assert crops.identity is not None
        indices = np.random.default_rng(seed).integers(0, len(crops), self.batch_size)
        images = self.augmentation(crops, indices, progress, (*seed, 1))
        return images, torch.from_numpy(crops.identity[indices])

    def forward(self, images: Tensor, identities: Tensor) -> Tensor:
        features, targets = _outputs(self.backbone, images), identities.to(images.device)
        losses = [
            F.cross_entropy(head(features[name]).float(), targets, label_smoothing=0.1)
            for name, head in self.heads.items()
        ]
        return torch.stack(losses).mean()


def _outputs(backbone: SingleStemViT, images: Tensor) -> dict[str, Tensor]:
    """The class token and the mean of the patch tokens, (B, D) each."""
    tokens = backbone.tokens(images)
    return {"class": tokens[:, 0], "patches": tokens[:, 1 + backbone.shape.registers :].mean(1)}


def _indices_by_group(groups: np.ndarray) -> list[np.ndarray]:
    """The indices of each group, in ascending order of the groups."""
    order = np.argsort(groups, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(groups[order])) + 1)
