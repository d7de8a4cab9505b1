"""Settings of `sdcl pretrain` and their flags."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from sdcl.config.command_line import add_arguments, new_parser, read_arguments
from sdcl.config.fields import (
    AT_LEAST_0,
    AT_LEAST_1,
    OUTPUT,
    POSITIVE,
    RESULTS,
    SHARE,
    SPEED,
    Bounds,
    OneOf,
    fields_of,
    setting,
)
from sdcl.config.settings import check_normalization
from sdcl.runtime.errors import SettingError
from sdcl.synthetic.person import DIFFICULTIES

OBJECTIVES = ("tracks", "dino", "identity")
_TRACKS, _DINO, _IDENTITY = ({"objective": name} for name in OBJECTIVES)
_RENDERED_TRACKS = {"objective": OneOf(("tracks", "dino")), "images": ()}


@dataclass(frozen=True)
class PretrainSettings:
    """Settings of a pretraining run."""

    out: str = setting("", "safetensors file to write", affects=OUTPUT)
    images: tuple[str, ...] = setting(
        (), "folders of person crops, DIR/CAMERA/TRACK/image; none: rendered crops"
    )
    dataset: str = setting(
        "",
        "set of tracks whose training images --images DIR holds, downloaded or prepared: vcm or buptcampus",
        "-d",
    )
    init: str = setting("", "weights of an earlier pretraining to start from")
    arch: str = setting("vit_mini", "ViT of sdcl.models.factory.ARCHS")
    mean: tuple[float, ...] = setting(
        (),
        "mean of red, green and blue pixels in 0 .. 1 that images are normalised with, three numbers; "
        "together with --std; without both: those of --init, or ImageNet's",
        bounds=SHARE,
    )
    std: tuple[float, ...] = setting(
        (), "deviation of red, green and blue pixels, as --mean", bounds=Bounds(0, 1, low_included=False)
    )
    objective: str = setting("tracks", "training objective: tracks, dino or identity", choices=OBJECTIVES)
    height: int = setting(96, "image height in pixels", bounds=AT_LEAST_1)
    width: int = setting(48, "image width in pixels", bounds=AT_LEAST_1)
    cameras: int = setting(300, "rendered cameras, half of them visible (identity: all)", bounds=AT_LEAST_1)
    tracks: int = setting(24, "rendered tracks per camera", bounds=AT_LEAST_1, needs=_RENDERED_TRACKS)
    frames: int = setting(4, "rendered frames per track", bounds=AT_LEAST_1, needs=_RENDERED_TRACKS)
    people: int = setting(
        3000, "rendered identities; 500 suffice for --objective identity", bounds=AT_LEAST_1
    )
    images_per_person: int = setting(20, "rendered images per identity", bounds=AT_LEAST_1, needs=_IDENTITY)
    color_jitter: float = setting(0.4, "strength of colour jitter", bounds=AT_LEAST_0)
    erase: float = setting(0.3, "probability of random erasing", bounds=SHARE)
    cameras_per_batch: int = setting(4, "cameras in a batch", bounds=AT_LEAST_1, needs=_TRACKS)
    temperature: float = setting(0.1, "temperature of the contrastive loss", bounds=POSITIVE, needs=_TRACKS)
    local_crops: int = setting(4, "small crops per image", bounds=AT_LEAST_0, needs=_DINO)
    prototypes: int = setting(2048, "output dimension of the head", bounds=Bounds(2), needs=_DINO)
    teacher_momentum: float = setting(
        0.99,
        "momentum of the teacher at the first step; it rises to 1 along half a cosine",
        bounds=SHARE,
        needs=_DINO,
    )
    iters: int = setting(1600, "optimiser steps", bounds=AT_LEAST_1)
    batch_size: int = setting(
        128, "images per step over all processes; tracks per step (dino)", bounds=AT_LEAST_1
    )
    lr: float = setting(
        2e-3, "peak learning rate after 50 steps of warm-up, then half a cosine", bounds=POSITIVE
    )
    frozen: float = setting(
        0.01, "first share of the steps with a frozen last layer", bounds=SHARE, needs=_DINO
    )
    weight_decay: float = setting(0.05, "weight decay of AdamW", bounds=AT_LEAST_0)
    weight_decay_end: float = setting(
        0.4,
        "weight decay at the last step, along half a cosine; biases and norms have none",
        bounds=AT_LEAST_0,
        needs=_DINO,
    )
    difficulty: str = setting("medium", "difficulty of the rendered images", choices=DIFFICULTIES)
    precision: str = setting(
        "auto", "auto: bf16 autocast where the hardware has it, else fp32", choices=("auto", "fp32", "bf16")
    )
    device: str = setting("auto", "auto, cpu, cuda or cuda:N", affects=SPEED)
    seed: int = setting(1000, "seed of identities, cameras, weights and batches", bounds=AT_LEAST_0)
    jobs: int = setting(
        os.cpu_count() or 1, "processes that render, threads that decode", bounds=AT_LEAST_1, affects=SPEED
    )
    cache_dir: str = setting("cache", "folder of the decoded crops", affects=OUTPUT)
    save_every: int = setting(
        200, "steps between two checkpoints, OUT.unfinished", bounds=AT_LEAST_1, affects=OUTPUT
    )
    probe_every: int = setting(
        400, "steps between two probes; 0: only at the end", bounds=AT_LEAST_0, affects=OUTPUT
    )


# May differ between a checkpoint and its continuation, and are not stored with the weights.
UNRECORDED = {one.name for one in fields_of(PretrainSettings) if one.about.affects != RESULTS}


def parse(argv: Sequence[str] | None, description: str) -> PretrainSettings:
    """Settings from the command line.

    Raises:
        SettingError: a value out of its bounds, a flag that the objective does not read, no --out, --dataset
            without its folder, --mean without --std, or fewer identities than tracks of a camera.
    """
    parser = new_parser("sdcl pretrain", description)
    add_arguments(parser, PretrainSettings)
    return check_together(read_arguments(PretrainSettings, parser.parse_args(argv)))


def check_together(settings: PretrainSettings) -> PretrainSettings:
    """The settings, if they fit one another. Raises SettingError as `parse`."""
    if not settings.out:
        raise SettingError("--out FILE is required: the safetensors file to write")
    if settings.dataset and len(settings.images) != 1:
        raise SettingError(f"--dataset {settings.dataset} needs its folder, one: --images DIR")
    check_normalization(settings.mean, settings.std)
    renders_tracks = settings.objective != "identity" and not settings.images
    if renders_tracks and settings.people < settings.tracks:
        raise SettingError(
            f"--people {settings.people} must be at least --tracks {settings.tracks}: "
            "the tracks of a camera show different identities"
        )
    return settings
