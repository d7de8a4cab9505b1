"""One setting: default, help, flags, legal values, who reads it and what it affects.

Everything else about settings is derived from this.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, get_type_hints

from sdcl.runtime.errors import SettingError

RESULTS, EVALUATION, SPEED, OUTPUT = "results", "evaluation", "speed", "output"


@dataclass(frozen=True)
class Bounds:
    """An interval of legal numbers; None is unbounded."""

    low: float | None = None
    high: float | None = None
    low_included: bool = True
    high_included: bool = True

    def hold(self, value: float) -> bool:
        """Whether the value lies in the interval."""
        above = self.low is None or value > self.low or (self.low_included and value == self.low)
        below = self.high is None or value < self.high or (self.high_included and value == self.high)
        return above and below

    def __str__(self) -> str:
        if self.high is None:
            return f"{'at least' if self.low_included else 'above'} {self.low}"
        included = self.low_included and self.high_included
        return f"between {self.low} and {self.high}" + ("" if included else ", both excluded")


@dataclass(frozen=True)
class OneOf:
    """Some of a setting's values, where `Setting.needs` takes several."""

    values: tuple[Any, ...]

    def hold(self, value: Any) -> bool:
        """Whether the value is one of them."""
        return value in self.values

    def __str__(self) -> str:
        return " or ".join(map(str, self.values))


POSITIVE = Bounds(0, low_included=False)
AT_LEAST_0, AT_LEAST_1 = Bounds(0), Bounds(1)
VITS = ("vit", "deit", "dinov2", "clip")  # how names of ViTs in sdcl.models.factory.ARCHS begin
SHARE = Bounds(0, 1)
INSIDE_UNIT = Bounds(0, 1, False, False)


@dataclass(frozen=True)
class Setting:
    """What is known of a setting beside its name, type and default.

    Args:
        help: makes sense alone, also outside its group.
        flags: further spellings on the command line, such as "-b".
        bounds: legal numbers. choices: legal values. aliases: other spellings of values.
        affects: "results" of training, "evaluation" only, "speed" (and memory), or "output": what is shown
            and where files lie.
        dataset: read only by data sets that name it in their `reads`.
        arch: read only by architectures whose names begin with one of these, such as `VITS`.
        method_attribute: read only by methods whose class has this attribute, such as "starts_from".
        needs: settings of the same run that must have these values, or lie in these `Bounds` or `OneOf`, for
            this one to be read, such as {"cra": True}. needs_any: settings of which one must have its value.
        first_epoch: the epoch in which a part of the method begins: one after the last epoch is said.
        of_model: describes the trained network, so a test takes it from the checkpoint.
        of_test: read by the test of a model as well, although it affects training and is not `of_model`.
        repetition: differs between repetitions of one experiment (seed, trial).
        resumable: may change between a checkpoint and its continuation although it affects results (epochs).
    """

    help: str
    flags: tuple[str, ...] = ()
    bounds: Bounds | None = None
    choices: tuple[Any, ...] | None = None
    aliases: Mapping[Any, Any] = dataclasses.field(default_factory=dict)
    affects: str = RESULTS
    dataset: bool = False
    arch: tuple[str, ...] = ()
    method_attribute: str = ""
    needs: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    needs_any: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    first_epoch: bool = False
    of_model: bool = False
    of_test: bool = False
    repetition: bool = False
    resumable: bool = False


def setting(default: Any, help: str, *flags: str, **about: Any) -> Any:
    """A dataclass field that is also a command-line flag, --its-name; `about` as in `Setting`."""
    return field(default=default, metadata={"setting": Setting(help, flags, **about)})


@dataclass(frozen=True)
class NamedField:
    """A setting in its dataclass. kind: its type. group: attribute of `Settings` that holds the dataclass."""

    name: str
    kind: Any
    default: Any
    about: Setting
    group: str = ""

    @property
    def flag(self) -> str:
        """Its spelling on the command line."""
        return flag_of(self.name)


def flag_of(name: str) -> str:
    """Setting name -> long flag."""
    return "--" + name.replace("_", "-")


def flag_with(name: str, value: Any) -> str:
    """A setting and its value as a person says it: --iters 3, --no-cra, no --from-run."""
    if isinstance(value, bool):
        return flag_of(name) if value else flag_of(name).replace("--", "--no-", 1)
    return f"no {flag_of(name)}" if value in ("", ()) else f"{flag_of(name)} {spelled(value)}"


def unmet_need(about: Setting, values: Mapping[str, Any]) -> str:
    """Why a setting is not read beside the others' values, such as "it needs --cra ..."; "" if it is read."""
    for needed, wanted in about.needs.items():
        several = isinstance(wanted, (Bounds, OneOf))
        if not (wanted.hold(values[needed]) if several else values[needed] == wanted):
            return (
                f"it needs {flag_with(needed, wanted)}, and this run has {flag_with(needed, values[needed])}"
            )
    if about.needs_any and all(values[needed] != wanted for needed, wanted in about.needs_any.items()):
        choice = " or ".join(flag_with(needed, wanted) for needed, wanted in about.needs_any.items())
        return f"it needs {choice}, and this run has none of them"
    return ""


def spelled(value: Any) -> str:
    """A value as on the command line, several with spaces between them."""
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


@cache
def fields_of(kind: type, group: str = "") -> tuple[NamedField, ...]:
    """The settings of one dataclass, in order."""
    hints = get_type_hints(kind)
    return tuple(
        NamedField(f.name, hints[f.name], f.default, f.metadata["setting"], group)
        for f in dataclasses.fields(kind)
    )


def check_values(kind: type, values: Mapping[str, Any]) -> None:
    """Hold values against the bounds and choices of a dataclass's settings.

    Raises:
        SettingError: naming the flag and the legal values.
    """
    for one in fields_of(kind):
        value, about = values[one.name], one.about
        if about.choices and value not in about.choices:
            legal = ", ".join(map(str, about.choices))
            raise SettingError(f"{one.flag} must be one of {legal}, got {value!r}")
        numbers = value if isinstance(value, tuple) else (value,)
        if about.bounds and not all(map(about.bounds.hold, numbers)):
            raise SettingError(f"{one.flag} must be {about.bounds}, got {spelled(value)}")


def checked(instance: Any) -> Any:
    """The instance of a settings dataclass, its values checked. Raises SettingError as `check_values`."""
    check_values(type(instance), dataclasses.asdict(instance))
    return instance


def iterate(kinds: Mapping[str, type]) -> Iterator[NamedField]:
    """The settings of several groups, in order."""
    for group, kind in kinds.items():
        yield from fields_of(kind, group)
