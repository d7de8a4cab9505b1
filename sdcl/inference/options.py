"""Options of the programs that embed images. Imports nothing heavy, so that --help is quick."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdcl.config.fields import AT_LEAST_1, setting

WEIGHTS_HELP = "run folder, checkpoint, or a .safetensors file of `sdcl export`"


@dataclass(frozen=True)
class EmbeddingOptions:
    """How a folder of images is embedded."""

    device: str = setting("auto", "auto, cpu, cuda or cuda:N")
    precision: str = setting(
        "fp32", "bf16 autocast or float32; auto: as in training", choices=("auto", "fp32", "bf16")
    )
    batch_size: int = setting(128, "images embedded at once", bounds=AT_LEAST_1)
    workers: int = setting(4, "threads that decode images", bounds=AT_LEAST_1)
    skip_unreadable: bool = setting(False, "leave out images that cannot be decoded, with a warning")

    def keywords(self) -> dict[str, Any]:
        """The keyword arguments of `embed_folder`."""
        return {name: value for name, value in vars(self).items() if name != "device"}


def add_weights(parser: argparse.ArgumentParser, *, required: bool = True, note: str = "") -> None:
    """Add --weights, the trained model."""
    text = WEIGHTS_HELP + note
    add = parser.add_argument
    add("--weights", type=Path, required=required, default=None, metavar="RUN_OR_CHECKPOINT", help=text)
