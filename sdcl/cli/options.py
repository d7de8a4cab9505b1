"""Options that several programs share: the model, and how images are embedded."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

WEIGHTS_HELP = "run folder, checkpoint, or a .safetensors file of `sdcl export`"


def add_embedding_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that decide how images are embedded."""
    add = parser.add_argument
    add(
        "--skip-unreadable",
        action="store_true",
        help="leave out images that cannot be decoded",
    )
    add("--device", default="auto", help="auto, cpu, cuda or cuda:N (default auto)")
    add("--precision", choices=("auto", "fp32", "bf16"), default="fp32", help="as in training (default fp32)")
    add("--batch-size", type=int, default=128, metavar="N", help="images embedded at once (default 128)")
    add("--workers", type=int, default=4, metavar="N", help="threads that decode images (default 4)")


def embedding_options(args: argparse.Namespace) -> dict[str, Any]:
    """The keyword arguments of `embed_folder` that the options of `add_embedding_options` set."""
    return {name: getattr(args, name) for name in ("batch_size", "precision", "workers", "skip_unreadable")}


def add_weights(parser: argparse.ArgumentParser, *, required: bool = True, note: str = "") -> None:
    """Add --weights, the trained model."""
    text = WEIGHTS_HELP + note
    parser.add_argument("--weights", type=Path, required=required, metavar="RUN_OR_CHECKPOINT", help=text)
