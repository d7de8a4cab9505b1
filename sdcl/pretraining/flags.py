"""Stand-in for sdcl.config.fields and the command-line bridge of sdcl.config.command_line."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any, NamedTuple, get_args, get_origin, get_type_hints

from sdcl.runtime.errors import SettingError

RESULTS, SPEED, OUTPUT = "results", "speed", "output"


class Bounds(NamedTuple):
    """An interval of legal numbers; None is unbounded."""

    low: float | None = None
    high: float | None = None
    low_included: bool = True

    def hold(self, value: float) -> bool:
        """Whether the value lies in the interval."""
        above = self.low is None or value > self.low or (self.low_included and value == self.low)
        return above and (self.high is None or value <= self.high)

    def __str__(self) -> str:
        if self.high is None:
            return f"{'at least' if self.low_included else 'above'} {self.low}"
        return f"between {self.low} and {self.high}"


POSITIVE, AT_LEAST_0, AT_LEAST_1, SHARE = Bounds(0, None, False), Bounds(0), Bounds(1), Bounds(0, 1)


@dataclasses.dataclass(frozen=True)
class Setting:
    """Help, bounds or choices of a setting, and what it affects."""

    help: str
    bounds: Bounds | None = None
    choices: tuple[Any, ...] | None = None
    affects: str = RESULTS


class NamedField(NamedTuple):
    """A setting in its dataclass."""

    name: str
    kind: Any
    default: Any
    about: Setting


def setting(default: Any, help: str, **about: Any) -> Any:
    """A dataclass field that is also a command-line flag."""
    return dataclasses.field(default=default, metadata={"setting": Setting(help, **about)})


def fields_of(kind: Any) -> list[NamedField]:
    """The settings of a dataclass, in order."""
    hints = get_type_hints(kind)
    return [
        NamedField(f.name, hints[f.name], f.default, f.metadata["setting"]) for f in dataclasses.fields(kind)
    ]


def check_values(kind: Any, values: dict[str, Any]) -> None:
    """Raise SettingError for a value out of its bounds or choices."""
    for one in fields_of(kind):
        flag, value, about = "--" + one.name.replace("_", "-"), values[one.name], one.about
        if about.choices and value not in about.choices:
            raise SettingError(f"{flag} must be one of {', '.join(map(str, about.choices))}, got {value!r}")
        if about.bounds and not about.bounds.hold(value):
            raise SettingError(f"{flag} must be {about.bounds}, got {value}")


def new_parser(prog: str, description: str) -> argparse.ArgumentParser:
    """A parser that refuses abbreviations and leaves absent flags absent."""
    return argparse.ArgumentParser(
        prog=prog,
        description=description,
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_arguments(parser: argparse.ArgumentParser, kind: Any) -> None:
    """Add the flags of a settings dataclass."""
    for one in fields_of(kind):
        flag, text = "--" + one.name.replace("_", "-"), f"{one.about.help} (default {one.default!r})"
        many = get_origin(one.kind) is tuple
        parser.add_argument(
            flag,
            nargs="+" if many else None,
            type=get_args(one.kind)[0] if many else one.kind,
            choices=one.about.choices,
            metavar=one.name.upper(),
            help=text.replace("%", "%%"),
        )


def read_arguments(kind: Any, arguments: argparse.Namespace) -> Any:
    """The settings dataclass from parsed arguments. Raises SettingError as `check_values`."""
    given = {name: tuple(v) if isinstance(v, list) else v for name, v in vars(arguments).items()}
    values = {one.name: given.get(one.name, one.default) for one in fields_of(kind)}
    check_values(kind, values)
    return kind(**values)
