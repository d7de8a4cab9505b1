"""Embed every image below a folder with a trained model: `sdcl embed --help`.

A file that is there already is brought up to date: only new and changed images are embedded.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from sdcl.config.command_line import add_arguments, new_parser, read_arguments
from sdcl.datasets import MODALITIES
from sdcl.inference.options import EmbeddingOptions, add_weights
from sdcl.runtime.files import output_path, printable
from sdcl.runtime.program import program

DESCRIPTION = """\
Embed every image below a folder with a trained model.

Of a file that is there already, rows of unchanged images are kept, if the same
weights and settings made them; the same command continues after an
interruption. An image counts as changed when its size or time does.
"""


@program
def main(argv: Sequence[str] | None = None) -> int:
    """Run the program. Exit codes: 0 written, 2 bad input."""
    args = parser().parse_args(argv)
    options = read_arguments(EmbeddingOptions, args)
    from sdcl.inference.embedding_file import update_embeddings
    from sdcl.inference.embeddings import EMBEDDING_SUFFIXES
    from sdcl.inference.trained_model import TrainedModel

    output_path(args.out, EMBEDDING_SUFFIXES)
    trained = TrainedModel.open(args.weights).to(options.device)
    if trained.note:
        print(f"note: {trained.note}", file=sys.stderr)
    embeddings = update_embeddings(
        trained, args.images, args.modality, args.out, anew=args.anew, **options.keywords()
    )
    count, dim = embeddings.rows.shape
    print(f"written: {printable(args.out)}: {count} images, {dim} dimensions, weights {trained.fingerprint}")
    return 0


def parser() -> argparse.ArgumentParser:
    """The options of this program."""
    result = new_parser("sdcl embed", DESCRIPTION)
    add = result.add_argument
    add_weights(result)
    add(
        "--images",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder of JPEG, PNG and BMP images",
    )
    add("--modality", choices=MODALITIES, required=True, help="kind of camera that took them")
    add("--out", type=Path, required=True, metavar="FILE", help="file to write, .npz or .safetensors")
    add("--anew", action="store_true", default=False, help="embed unchanged images again, too")
    add_arguments(result, EmbeddingOptions)
    return result


if __name__ == "__main__":
    sys.exit(main())
