"""Search in a browser, on this machine: `sdcl app --help`."""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sdcl.config.command_line import add_arguments, new_parser, read_arguments
from sdcl.datasets import MODALITIES
from sdcl.inference.options import EmbeddingOptions, add_weights
from sdcl.runtime.errors import SettingError
from sdcl.runtime.program import program

STORE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sdcl" / "embeddings"
DESCRIPTION = """\
Search one's own images in a browser, and walk through a run.

The page answers on this machine only, reads nothing outside the folders named
here, keeps nothing that is dropped on it, and needs no network. Galleries are
embedded once, in --store; later only new and changed images are.
"""


@program
def main(argv: Sequence[str] | None = None) -> int:
    """Run the program until Ctrl-C. Exit codes: 0 ended, 2 bad input."""
    args = parser().parse_args(argv)
    _check(args)
    options = read_arguments(EmbeddingOptions, args)
    lacking = [name for name in ("starlette", "uvicorn") if importlib.util.find_spec(name) is None]
    if lacking:
        raise SettingError(f"{' and '.join(lacking)} not installed: pip install 'sdcl[app]'")
    from sdcl.app.folders import AllowedFolders
    from sdcl.app.run_walk import RunWalk
    from sdcl.app.server import create_app
    from sdcl.app.serving import serve
    from sdcl.app.workspace import Workspace
    from sdcl.inference.trained_model import TrainedModel

    trained = TrainedModel.open(args.weights).to(options.device)
    if trained.note:
        print(f"note: {trained.note}", file=sys.stderr)
    run = args.run or (args.weights if args.weights.is_dir() else None)
    given = [*args.gallery, *args.allow, args.query, args.reference, args.data_dir, run]
    folders = AllowedFolders(path for path in given if path is not None)
    workspace = Workspace(trained, folders, args.store, options, queries=args.query, labelled=args.labelled)
    try:
        walk = RunWalk(run, workspace, str(args.data_dir or "")) if run else None
        for path, modality in zip(args.gallery, _modalities(args)):
            workspace.add(path, modality)
        if args.reference:
            workspace.add(args.reference, args.reference_modality or "", "reference")
        serve(create_app(workspace, walk), args.port)
    finally:
        workspace.close()
    return 0


def parser() -> argparse.ArgumentParser:
    """The options of this program."""
    result = new_parser("sdcl app", DESCRIPTION)
    add = result.add_argument
    images: dict[str, Any] = {"type": Path, "metavar": "DIR_OR_FILE"}
    add_weights(result)
    text = "galleries to start with: folders of images, or files of `sdcl embed`"
    add("--gallery", nargs="+", default=[], help=text, **images)
    text = "kind of camera of each gallery, or one for all; not needed for files"
    add("--gallery-modality", nargs="+", default=[], choices=MODALITIES, help=text)
    add("--query", default=None, help="folder of images to choose a query from", **images)
    text = "images that show what a threshold costs, as those of `sdcl search --calibrate`"
    add("--reference", default=None, help=text, **images)
    add("--reference-modality", default=None, choices=MODALITIES, help="kind of camera of the reference")
    text = "the first folder of each path names the person, in the reference and in the galleries"
    add("--labelled", action="store_true", default=False, help=text)
    text = "further folder whose images may be read, and from which the page may add galleries"
    add("--allow", nargs="+", type=Path, default=[], metavar="DIR", help=text)
    text = "run folder to walk through (default: --weights, if it is one)"
    add("--run", type=Path, default=None, metavar="RUN", help=text)
    text = "images of the run (default: where they were, if that folder is one of those named here)"
    add("--data-dir", type=Path, default=None, metavar="DIR", help=text)
    text = f"folder of the galleries' embeddings (default {STORE.name} in the user's cache)"
    add("--store", type=Path, default=STORE, metavar="DIR", help=text)
    add("--port", type=int, default=8050, metavar="N", help="port on 127.0.0.1 (default 8050; 0: a free one)")
    add_arguments(result, EmbeddingOptions)
    return result


def _check(args: argparse.Namespace) -> None:
    """Refuse options that do not fit together before any work is done."""
    if len(args.gallery_modality) > 1 and len(args.gallery_modality) != len(args.gallery):
        raise SettingError(
            f"--gallery-modality names {len(args.gallery_modality)} for {len(args.gallery)} galleries; name "
            "one for each, or one for all"
        )
    if not 0 <= args.port <= 65535:
        raise SettingError(f"--port must lie between 0 and 65535, got {args.port}")
    if args.labelled and not args.reference:
        raise SettingError("--labelled belongs to --reference; name images with --reference")


def _modalities(args: argparse.Namespace) -> list[str]:
    given = args.gallery_modality or [""]
    return given * len(args.gallery) if len(given) == 1 else given


if __name__ == "__main__":
    sys.exit(main())
