"""The `sdcl` command: one program per sub-command, imported only when it is chosen."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import sdcl
from sdcl.runtime.program import FINISHED


@dataclass(frozen=True)
class Command:
    """One sub-command.

    Args:
        main: "module:function" of its program, called with the arguments that follow the sub-command.
        help: one line for `sdcl --help`.
        parser: "module:function" that builds its options without heavy imports, for shell completion; "" if
            none.
    """

    main: str
    help: str
    parser: str = ""


SETTINGS = "sdcl.config:parser"
COMMANDS = {
    "train": Command("sdcl.train:main", "train a method on a data set", SETTINGS),
    "repeat": Command(
        "sdcl.cli.repeat:main", "train one experiment with several seeds", "sdcl.cli.repeat:parser"
    ),
    "test": Command("sdcl.test:main", "test a trained model by the data set's protocol", SETTINGS),
    "prepare": Command(
        "sdcl.datasets.prepare:main", "bring a downloaded data set into one layout, and check it"
    ),
    "doctor": Command("sdcl.cli.doctor:main", "check data, weights and machine before a run"),
    "embed": Command("sdcl.cli.embed:main", "embed a folder of images into a file", "sdcl.cli.embed:parser"),
    "search": Command("sdcl.cli.search:main", "rank a gallery for query images", "sdcl.cli.search:parser"),
    "app": Command("sdcl.cli.app:main", "search in a browser, on this machine", "sdcl.cli.app:parser"),
    "export": Command(
        "sdcl.cli.export:main", "write ONNX, safetensors and a model card", "sdcl.cli.export:parser"
    ),
    "report": Command("sdcl.cli.report:main", "write HTML reports of run folders, and compare runs"),
    "pretrain": Command("sdcl.pretraining.pretrain:main", "pretrain a ViT on unlabelled or synthetic people"),
    "synthesize": Command("sdcl.synthetic.dataset:main", "draw a synthetic data set"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the sub-command that the arguments name and return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if "_ARGCOMPLETE" in os.environ:
        _complete()
    if arguments and arguments[0] in COMMANDS:
        command, rest = COMMANDS[arguments[0]], arguments[1:]
        if command.parser and {"-h", "--help"} & set(rest):
            options(arguments[0]).print_help()
            return FINISHED
        return resolve(command.main)(rest)
    parser().parse_args(arguments)  # prints help, version or an error, and exits
    parser().print_help()
    return FINISHED


def parser() -> argparse.ArgumentParser:
    """The parser of `sdcl` itself; sub-commands parse their own options."""
    result = argparse.ArgumentParser(
        "sdcl",
        description="Unsupervised visible-infrared person re-identification.",
        epilog="`sdcl COMMAND --help` lists the options of a command.",
    )
    result.add_argument("--version", action="version", version=f"sdcl {sdcl.__version__}")
    commands = result.add_subparsers(title="commands", metavar="COMMAND")
    for name, command in COMMANDS.items():
        commands.add_parser(name, help=command.help, add_help=False)
    return result


def resolve(reference: str) -> Any:
    """Import the object of "module:name"."""
    module, name = reference.split(":")
    return getattr(import_module(module), name)


def options(name: str) -> argparse.ArgumentParser:
    """The options of a sub-command, without importing its program; empty where the table names no parser."""
    command = COMMANDS[name]
    if not command.parser:
        return argparse.ArgumentParser(f"sdcl {name}")
    build = resolve(command.parser)
    return build(f"sdcl {name}", command.help) if command.parser == SETTINGS else build()


def _complete() -> None:
    """Answer the shell's request for completions, which `register-python-argcomplete sdcl` sets up."""
    try:
        import argcomplete
    except ModuleNotFoundError:
        return
    arguments = os.environ.get("COMP_LINE", "").split()
    chosen = arguments[1] if len(arguments) > 1 else ""
    whole = argparse.ArgumentParser("sdcl")
    commands = whole.add_subparsers()
    for name in COMMANDS:
        commands.add_parser(name, parents=[options(name)] if name == chosen else [], add_help=False)
    argcomplete.autocomplete(whole)


if __name__ == "__main__":
    sys.exit(main())
