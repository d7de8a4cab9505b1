"""What pre-training optimises: tracks (no label), DINO (no label), or the identities of other, synthetic people.

An objective draws a batch (rows and seeds on the host, augmented images on the device) and maps it to a loss. All see the class token and the
mean of the patch tokens: with the class token alone a small transformer stays at chance for hundreds of steps.

B images of a batch, K cameras, T tracks per camera, D features, H, W image size.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sdcl.data.augment import augment, augmentation
from sdcl.models.vit import SingleStemViT
from sdcl.pretraining.crops import Crops
from sdcl.runtime.distributed import gather_rows
from sdcl.runtime.errors import UserError
from sdcl.runtime.seeds import derive_seeds

SHOWN = ("class", "patches")


@dataclass(frozen=True)
class Looks:
    """How strongly images are changed: colour jitter and random erasing grow to their full size in the first `ramp` of the steps."""

    color_jitter: float
    erase: float
    pad: int
    ramp: float = 0.3

    def views(self, crops: Crops, rows: np.ndarray, done: float, seed: tuple[int, ...]) -> Tensor:
        """Augmented images (B, 3, H, W), each in colour or through one random channel, so that shape has to do where hue does not.

        Args:
            done: share of the steps that is over. seed: words from which every random number follows.
        """
        strength = min(1.0, done / self.ramp) if self.ramp else 1.0
        shared = {"color_jitter": self.color_jitter * max(strength, 0.5), "erase": self.erase * strength, "pad": self.pad}
        seeds = derive_seeds(*seed, count=len(rows))
        gray = np.random.default_rng(seed).random(len(rows)) < 0.5
        images = crops.store.take(rows)
        out = torch.empty(len(rows), 3, *images.shape[1:3], device=images.device)
        for view, chosen in (("plain", ~gray), ("exchanged", gray)):
            at = np.flatnonzero(chosen)
            if len(at):
                out[at] = augment(images[at], augmentation("visible", view, **shared), [seeds[i] for i in at])
        return out


class Objective(nn.Module):
    """Draws batches and gives their loss; what moves besides the optimiser's step is said by the two methods around it."""

    def before_step(self, done: float) -> None:
        """The gradients are there; `done` is the share of the steps that is over."""

    def after_step(self, done: float) -> None:
        """The optimiser has moved the parameters."""


class Projector(nn.Sequential):
    """Features (B, D) -> unit rows (B, 128) that the contrast compares."""

    def __init__(self, dim: int):
        super().__init__(nn.Linear(dim, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Linear(512, 128))

    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(super().forward(x).float(), dim=1)


class Tracks(Objective):
    """Two frames of a track attract each other and repel the other tracks of the same camera (InfoNCE, van den Oord et al., 2018).

    All compared images share a camera, its light and its background, so that only the person tells them apart.

    Raises:
        ValueError: fewer than two cameras' worth of tracks.
    """

    def __init__(self, backbone: SingleStemViT, crops: Crops, looks: Looks, batch_size: int, cameras: int, temperature: float):
        super().__init__()
        self.backbone, self.looks, self.temperature = backbone, looks, temperature
        self.projectors = nn.ModuleDict({name: Projector(backbone.feature_dim) for name in SHOWN})
        self.frames = _rows_by(crops.track)
        first = np.array([rows[0] for rows in self.frames])
        self.tracks = [rows for rows in _rows_by(crops.camera[first]) if len(rows) > 1]
        if not self.tracks:
            raise UserError(
                "--objective tracks needs a camera with two tracks or more; put the crops of a camera into DIR/CAMERA, its tracks into "
                "DIR/CAMERA/TRACK"
            )
        self.cameras, self.per_camera = cameras, max(2, batch_size // (2 * cameras))

    def draw(self, crops: Crops, done: float, seed: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """Images (B, 3, H, W), the two frames of a track side by side, camera after camera; tracks of each camera int64 (K,)."""
        rng = np.random.default_rng(seed)
        chosen, counts = [], []
        for camera in rng.choice(len(self.tracks), self.cameras, replace=self.cameras > len(self.tracks)):
            tracks = rng.permutation(self.tracks[camera])[: self.per_camera]
            counts.append(len(tracks))
            for track in tracks:
                frames = self.frames[track]
                chosen.extend(rng.choice(frames, 2, replace=len(frames) < 2))  # a lone frame is seen twice, changed differently
        return self.looks.views(crops, np.array(chosen), done, (*seed, 1)), torch.tensor(counts)

    def forward(self, images: Tensor, counts: Tensor) -> Tensor:
        features = _shown(self.backbone, images)
        losses = []
        for name, projector in self.projectors.items():
            for rows in projector(features[name]).split([2 * n for n in counts.tolist()]):
                similarity = rows @ rows.T / self.temperature  # (2 T, 2 T)
                similarity.fill_diagonal_(-torch.inf)
                partner = torch.arange(len(rows), device=rows.device) ^ 1
                losses.append(F.cross_entropy(similarity, partner))
        return torch.stack(losses).mean()


class DinoHead(nn.Module):
    """(B, D) -> (B, prototypes): three layers, unit rows, weight-normalised prototypes (Caron et al., ICCV 2021)."""

    def __init__(self, dim: int, prototypes: int, hidden: int = 512, bottleneck: int = 128):
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, bottleneck))
        self.prototypes = nn.Parameter(torch.randn(prototypes, bottleneck))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(F.normalize(self.mlp(x).float(), dim=1), F.normalize(self.prototypes, dim=1))


class Dino(Objective):
    """Self-distillation without labels (DINO, Caron et al., ICCV 2021), as TransReID-SSL used it for SDCL's starting weight.

    A student sees two whole images and some small crops, its moving average the whole ones only; the student of each view predicts the
    average's centred, sharpened output for the others. Where a track has several frames, the two whole images are two frames.
    The prototypes stay as they are in the first `frozen` of the steps.
    """

    student_temperature, teacher_temperature, center_momentum = 0.1, (0.04, 0.07), 0.9

    def __init__(
        self, backbone: SingleStemViT, crops: Crops, looks: Looks, batch_size: int, local_crops: int, prototypes: int, momentum: float,
        frozen: float,
    ):  # fmt: skip
        super().__init__()
        self.backbone, self.looks, self.local_crops, self.momentum, self.frozen = backbone, looks, local_crops, momentum, frozen
        self.batch_size, self.frames = batch_size, _rows_by(crops.track)
        self.heads = nn.ModuleDict({name: DinoHead(backbone.feature_dim, prototypes) for name in SHOWN})
        self.teacher = copy.deepcopy(nn.ModuleDict({"backbone": backbone, "heads": self.heads})).requires_grad_(False)
        self.register_buffer("center", torch.zeros(len(SHOWN), prototypes))
        self.register_buffer("done", torch.zeros(()))
        self._next_center = self.center

    def draw(self, crops: Crops, done: float, seed: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """Whole images (2 B, 3, H, W) and small crops (L B, 3, h, w), view after view."""
        rng = np.random.default_rng(seed)
        tracks = rng.choice(len(self.frames), self.batch_size, replace=self.batch_size > len(self.frames))
        rows = np.stack([rng.choice(f, 2, replace=len(f) < 2) for f in (self.frames[t] for t in tracks)], axis=1)  # (2, B)
        views = [self.looks.views(crops, r, done, (*seed, 1 + i)) for i, r in enumerate(rows)]
        small = [self._small(self.looks.views(crops, rows[i % 2], done, (*seed, 9 + i)), rng) for i in range(self.local_crops)]
        empty = views[0].new_zeros(0, *views[0].shape[1:])
        return torch.cat(views), torch.cat(small) if small else empty

    def _small(self, images: Tensor, rng: np.random.Generator) -> Tensor:
        """A part of each image, 30 to 60 % of its height, at about half the size and whole patches."""
        patch, (height, width) = self.backbone.shape.patch, images.shape[2:]
        size = tuple(max(1, round(n / 2 / patch)) * patch for n in (height, width))
        parts = []
        for image in images:
            share = 0.3 + 0.3 * float(rng.random())
            h, w = max(1, round(share * height)), max(1, min(width, round(share * height * size[1] / size[0])))
            top, left = int(rng.integers(0, height - h + 1)), int(rng.integers(0, width - w + 1))
            parts.append(F.interpolate(image[None, :, top : top + h, left : left + w], size, mode="bilinear", align_corners=False))
        return torch.cat(parts)

    def forward(self, whole: Tensor, small: Tensor) -> Tensor:
        with torch.no_grad():
            seen = _shown(self.teacher["backbone"], whole)
            target = torch.stack([self.teacher["heads"][name](seen[name]) for name in SHOWN])  # (2, 2 B, P)
            low, high = self.teacher_temperature
            temperature = low + (high - low) * min(1.0, float(self.done) / 0.3)
            sharp = ((target - self.center[:, None]) / temperature).softmax(-1).chunk(2, dim=1)
            mean = gather_rows(target.mean(1)[None]).mean(0)
            self._next_center = self.center_momentum * self.center + (1 - self.center_momentum) * mean
        parts = [_shown(self.backbone, whole)] + ([_shown(self.backbone, small)] if len(small) else [])
        views = []
        for i, features in enumerate(parts):
            logits = torch.stack([self.heads[name](features[name]) for name in SHOWN]) / self.student_temperature
            views.extend(logits.log_softmax(-1).chunk(2 if i == 0 else self.local_crops, dim=1))
        losses = [-(t * v).sum(-1).mean() for i, t in enumerate(sharp) for j, v in enumerate(views) if i != j]
        return torch.stack(losses).mean()

    def before_step(self, done: float) -> None:
        """At first only what leads to the prototypes learns."""
        if done < self.frozen:
            for head in self.heads.values():
                head.prototypes.grad = None

    @torch.no_grad()
    def after_step(self, done: float) -> None:
        """The teacher follows the student, ever more slowly; the centre takes the last batch in."""
        self.center.copy_(self._next_center)
        self.done.fill_(done)
        kept = 1 - (1 - self.momentum) * (math.cos(math.pi * done) + 1) / 2
        for name, own in (("backbone", self.backbone), ("heads", self.heads)):
            for mine, theirs in zip(self.teacher[name].parameters(), own.parameters()):
                mine.lerp_(theirs, 1 - kept)
            for mine, theirs in zip(self.teacher[name].buffers(), own.buffers()):
                mine.copy_(theirs)


class Identity(Objective):
    """Classification of synthetic people: supervised, on people and cameras that no benchmark set shares, visible images only."""

    def __init__(self, backbone: SingleStemViT, crops: Crops, looks: Looks, batch_size: int):
        super().__init__()
        if crops.person is None:
            raise UserError(
                "--objective identity reads labels, which only rendered people have: leave --images out, or use --objective tracks"
            )
        self.backbone, self.looks, self.batch_size = backbone, looks, batch_size
        people = int(crops.person.max()) + 1
        self.heads = nn.ModuleDict(
            {n: nn.Sequential(nn.BatchNorm1d(backbone.feature_dim), nn.Linear(backbone.feature_dim, people, bias=False)) for n in SHOWN}
        )

    def draw(self, crops: Crops, done: float, seed: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """Images (B, 3, H, W) and their people int64 (B,)."""
        rows = np.random.default_rng(seed).integers(0, len(crops), self.batch_size)
        return self.looks.views(crops, rows, done, (*seed, 1)), torch.from_numpy(crops.person[rows])

    def forward(self, images: Tensor, people: Tensor) -> Tensor:
        features = _shown(self.backbone, images)
        return torch.stack(
            [F.cross_entropy(head(features[n]).float(), people.to(images.device), label_smoothing=0.1) for n, head in self.heads.items()]
        ).mean()


def _shown(backbone: SingleStemViT, images: Tensor) -> dict[str, Tensor]:
    """The class token and the mean of the patch tokens, (B, D) each."""
    tokens = backbone.tokens(images)
    return {"class": tokens[:, 0], "patches": tokens[:, 1:].mean(1)}


def _rows_by(groups: np.ndarray) -> list[np.ndarray]:
    """Rows of each group, groups ascending."""
    order = np.argsort(groups, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(groups[order])) + 1)
