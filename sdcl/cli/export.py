"""Write a trained model as ONNX, safetensors and a model card: `sdcl export --help`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from sdcl.inference.options import add_weights
from sdcl.runtime.program import program


@program
def main(argv: Sequence[str] | None = None) -> int:
    """Run the program. Exit codes: 0 written, 2 bad input."""
    args = parser().parse_args(argv)
    from sdcl.inference.export import export
    from sdcl.inference.trained_model import TrainedModel

    branches = None if args.branch == "both" else (args.branch,)
    formats = ("onnx", "safetensors") if args.format == "both" else (args.format,)
    paths, comparisons = export(TrainedModel.open(args.weights), args.out, branches=branches, formats=formats)
    for comparison in comparisons:
        print(f"parity {comparison}")
    for path in paths:
        print(f"written: {path}")
    return 0


def parser() -> argparse.ArgumentParser:
    """The options of this program."""
    description = "Write a trained model as ONNX, safetensors and a model card."
    result = argparse.ArgumentParser("sdcl export", description=description, allow_abbrev=False)
    add = result.add_argument
    add_weights(result)
    add("--out", type=Path, required=True, metavar="DIR", help="folder to write into")
    text = "branch of the ONNX graphs (default both, side by side)"
    add("--branch", choices=("deep", "shallow", "both"), default="both", help=text)
    text = "formats to write (default both)"
    add("--format", choices=("onnx", "safetensors", "both"), default="both", help=text)
    return result


if __name__ == "__main__":
    sys.exit(main())
