"""Command line and JSON files <-> settings dataclasses: flags, recipes, the origin of each value.

A flag that nothing in the run would read is refused.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args, get_origin

from sdcl.config.fields import NamedField, check_values, fields_of, flag_of, flag_with, spelled, unmet_need
from sdcl.config.groups import RunSettings
from sdcl.config.method_check import fits
from sdcl.config.registry import METHODS, method_class
from sdcl.config.settings import (
    Settings,
    check,
    fields_by_name,
    flat,
    from_flat,
    groups,
    readers_of,
    why_unread,
)
from sdcl.datasets import source_of
from sdcl.runtime.errors import SettingError

AGW = "agw"  # the two-stream ResNet-50 of ADCA, GUR and SDCL; SDCL's has instance normalisation in its stems


# ------------------------------------------------------------------ dataclass -> flags


def add_argument(group: Any, one: NamedField, note: str = "") -> None:
    """Add the flag of a setting, without a default: what the user did not give stays absent."""
    about = one.about
    flags = [*about.flags, one.flag]
    text = f"{about.help} (default {one.default!r}{note})".replace("%", "%%")
    if one.kind is bool:
        group.add_argument(*flags, action=argparse.BooleanOptionalAction, help=text)
    elif get_origin(one.kind) is tuple:
        group.add_argument(*flags, nargs="+", type=get_args(one.kind)[0], metavar=one.name.upper(), help=text)
    else:
        group.add_argument(*flags, type=one.kind, choices=about.choices, metavar=one.name.upper(), help=text)


def add_arguments(parser: argparse.ArgumentParser, kind: type) -> None:
    """Add the flags of a settings dataclass, for programs that have settings of their own."""
    for one in fields_of(kind):
        needs = [flag_with(name, value) for name, value in one.about.needs.items()]
        add_argument(parser, one, f"; needs {', '.join(needs)}" if needs else "")


def read_arguments(kind: type, arguments: argparse.Namespace) -> Any:
    """The settings dataclass from parsed arguments, absent ones at their defaults.

    Raises:
        SettingError: a value out of its bounds, or a flag that is not read beside the others.
    """
    given = vars(arguments)
    values = {one.name: given.get(one.name, one.default) for one in fields_of(kind)}
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    check_values(kind, values)
    unread = {one.name: unmet_need(one.about, values) for one in fields_of(kind) if one.name in given}
    _refuse(given, unread)
    return kind(**values)


def new_parser(prog: str, description: str) -> argparse.ArgumentParser:
    """A parser that refuses abbreviations and leaves absent flags absent."""
    return argparse.ArgumentParser(
        prog=prog,
        description=description,
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def parser(prog: str, description: str) -> argparse.ArgumentParser:
    """The flags of all settings: the shared ones, then those of each method.

    Raises:
        SettingError: a method's class cannot be used.
    """
    fields_by_name()  # checks every method
    result = new_parser(prog, description)
    result.add_argument(
        "--config", metavar="FILE", help="JSON file of settings, {name: value}; flags override it"
    )
    result.add_argument(
        "--print-config", action="store_true", help="print every setting with its origin and stop"
    )
    added: set[str] = set()
    shared = groups(RunSettings().method)
    for title, kind in list(shared.items())[:-1]:
        group = result.add_argument_group(title, (kind.__doc__ or "").strip())
        for one in fields_of(kind):
            add_argument(group, one, "; a recipe may say otherwise")
            added.add(one.name)
    for method in METHODS:
        group = result.add_argument_group(f"method {method}")
        for one in fields_of(method_class(method).SETTINGS, "method"):
            if one.name not in added:
                add_argument(group, one, _other_readers(one, method))
                added.add(one.name)
    return result


def _other_readers(one: NamedField, method: str) -> str:
    """The other methods that have a setting of this name, and their defaults
    and meanings where they differ.
    """
    notes = []
    for other in readers_of(one.name):
        if other != method:
            theirs = fields_by_name(other)[one.name]
            default = f", there {theirs.default!r}" if theirs.default != one.default else ""
            meaning = f" ({theirs.about.help})" if theirs.about.help != one.about.help else ""
            notes.append(f"; also --method {other}{default}{meaning}")
    return "".join(notes)


# ------------------------------------------------------------------ recipes, files, flags -> settings


def recipe(method: str, dataset: str) -> dict[str, Any]:
    """What the method's recipe sets for a data set; one without a recipe of its own takes that of
    another, untuned.

    Raises:
        SettingError: the method has no recipe for it.
    """
    recipes = method_class(method).RECIPES
    for name in (dataset, source_of(dataset).recipe_of):
        if name in recipes:
            return dict(recipes[name])
    raise SettingError(f"--method {method} has no recipe for -d {dataset}; it has: {', '.join(recipes)}")


def resolve(given: dict[str, Any]) -> tuple[Settings, dict[str, str]]:
    """Settings from what the user gave, and the origin of each value.

    Args:
        given: parsed flags; "config" names a file.

    Returns:
        The settings, and {name: "default" | "recipe METHOD DATASET" | "config file" | "flag"}. Names of the
        --config file that nothing in this run reads have the origin "config file, not read".

    Raises:
        SettingError: an unreadable --config file, an unknown setting in it, a value that no run can have, or
            a flag that nothing in this run reads.
    """
    given = {k: v for k, v in given.items() if k != "print_config"}
    from_file = _read_config(given.pop("config")) if "config" in given else {}
    chosen = {**from_file, **given}
    method = chosen.get("method", RunSettings().method)
    method_class(method)
    known = fields_by_name(method)
    for layer in (from_file, given):
        if "dataset" in layer:
            layer["dataset"] = source_of(layer["dataset"]).name
    dataset = {**from_file, **given}.get("dataset", known["dataset"].default)
    values = {name: one.default for name, one in known.items()}
    origin = dict.fromkeys(values, "default")
    for source, layer in (
        (f"recipe {method} {dataset}", recipe(method, dataset)),
        ("config file", from_file),
        ("flag", given),
    ):
        for name, value in layer.items():
            if name in known:
                values[name], origin[name] = value, source
    if values["arch"] == AGW:
        values["arch"] = method_class(method).agw
    settings = from_flat(values)
    check(settings)
    _refuse(given, {name: why_unread(name, settings) for name in given})
    for name in from_file:
        if name not in given and why_unread(name, settings):
            origin[name] = "config file, not read"
    return settings, origin


def _refuse(given: dict[str, Any], reasons: Mapping[str, str]) -> None:
    """Refuse the given flags that have a reason to be without effect."""
    lines = [
        f"{flag_with(name, False) if given[name] is False else flag_of(name)} has "
        f"no effect in this run: {reason}"
        for name, reason in reasons.items()
        if reason
    ]
    if lines:
        raise SettingError("\n  ".join([*lines, "leave it out, or change what it needs"]))


def _read_config(path: str) -> dict[str, Any]:
    try:
        values = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SettingError(f"--config {path} cannot be read as JSON: {error}") from None
    if not isinstance(values, dict):
        raise SettingError(
            f"--config {path} must hold one JSON object, {{name: value}}, got a {type(values).__name__}"
        )
    known = fields_by_name()
    for name, value in values.items():
        if name not in known:
            raise SettingError(f"--config {path} names {name!r}, which is no setting; --help lists them")
        kind = known[name].kind
        if not fits(value, kind):
            called = "list" if get_origin(kind) is tuple else kind.__name__
            raise SettingError(f"--config {path}: {name} must be of type {called}, got {value!r}")
    return values


def parse(
    argv: Sequence[str] | None, prog: str, description: str
) -> tuple[Settings, dict[str, str], dict[str, Any]]:
    """Settings, the origin of each, and the flags that were given; --print-config prints them and leaves.

    Raises:
        SettingError: as `resolve`. SystemExit: --help, --print-config, or an unknown flag.
    """
    given = vars(parser(prog, description).parse_args(argv))
    settings, origin = resolve(dict(given))
    if given.get("print_config"):
        print(describe(settings, origin))
        raise SystemExit(0)
    return settings, origin, given


# ------------------------------------------------------------------ settings -> text


def describe(settings: Settings, origin: dict[str, str]) -> str:
    """Every setting on a line: name, value, origin, and whether nothing in this run reads it."""
    lines = [f"settings of the run in {settings.run_dir}:"]
    for name, value in flat(settings).items():
        unread = " (not read by this run)" if why_unread(name, settings) else ""
        lines.append(f"  {name:28} {spelled(value):24} {origin[name]}{unread}")
    return "\n".join(lines)


def notes_on_released_line(settings: Settings, given: dict[str, Any]) -> list[str]:
    """A note if flags were copied from a released command line whose program does not train with them.

    Args:
        given: the flags as the user gave them.
    """
    method, dataset = settings.run.method, settings.data.dataset
    copied = getattr(method_class(method), "released_line", {}).get(dataset, {})
    here = flat(settings)
    released = flat(resolve({"method": method, "dataset": dataset})[0])
    names = [n for n, v in copied.items() if given.get(n) == v and here[n] != released[n]]
    if not names:
        return []
    flags = ", ".join(f"{flag_of(n)} {given[n]}" for n in names)
    instead = ", ".join(f"{flag_of(n)} {released[n]}" for n in names)
    start = f" --from-run {settings.model.from_run}" if settings.model.from_run else ""
    return [
        f"note: {flags}: the released program takes them and does not train with them throughout, but with "
        f"{instead}. Here they count. The line that reproduces the released run: "
        f"sdcl train --method {method} -d {dataset}{start}"
    ]


def notes_on_late_starts(settings: Settings) -> list[str]:
    """A note for each part of the method whose first epoch is after the last one."""
    epochs, known = settings.optim.epochs, fields_by_name(settings.run.method)
    late = [
        f"{flag_of(name)} {value}"
        for name, value in flat(settings).items()
        if known[name].about.first_epoch and not why_unread(name, settings) and value >= epochs
    ]
    if not late:
        return []
    return [f"note: what begins at {', '.join(late)} never runs: the run ends before, with --epochs {epochs}"]


def differences_from_recipe(settings: Settings, origin: dict[str, str]) -> list[str]:
    """A line for each setting from a flag or the --config file, and one for settings without effect."""
    values = flat(settings)
    lines = [
        f"--{n.replace('_', '-')} {spelled(values[n])} ({o})"
        for n, o in origin.items()
        if o in ("flag", "config file")
    ]
    unread = [name for name, source in origin.items() if source == "config file, not read"]
    if unread:
        lines.append(f"the --config file also sets, and nothing in this run reads: {', '.join(unread)}")
    return lines
