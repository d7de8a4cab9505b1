"""The settings of a run: one frozen dataclass a subject, and the method's own settings, which stand beside
its class.

`Settings` becomes the flags, the saved config.json and the settings in a checkpoint. Precedence: field
default < recipe (method x data set) < --config file < flags. Nothing else holds a default.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints

from sdcl.config.fields import (
    EVALUATION,
    OUTPUT,
    SPEED,
    NamedField,
    check_values,
    fields_of,
    iterate,
    spelled,
    unmet_need,
)
from sdcl.config.groups import (
    FOLDER,
    TRANSLATIONS,
    AugmentSettings,
    BatchSettings,
    ClusterSettings,
    DataSettings,
    HealthSettings,
    MemorySettings,
    ModelSettings,
    OptimSettings,
    RunSettings,
    TestSettings,
)
from sdcl.config.method_check import check_method
from sdcl.config.registry import METHODS, method_class
from sdcl.config.supervision import refuse_labels
from sdcl.datasets import DATASETS, source_of
from sdcl.runtime.errors import SettingError


@dataclass(frozen=True)
class Settings:
    """All settings of a run. method: the settings dataclass of the chosen method,
    `METHODS[run.method].SETTINGS`.
    """

    run: RunSettings = field(default_factory=RunSettings)
    data: DataSettings = field(default_factory=DataSettings)
    augment: AugmentSettings = field(default_factory=AugmentSettings)
    model: ModelSettings = field(default_factory=ModelSettings)
    batch: BatchSettings = field(default_factory=BatchSettings)
    optim: OptimSettings = field(default_factory=OptimSettings)
    cluster: ClusterSettings = field(default_factory=ClusterSettings)
    memory: MemorySettings = field(default_factory=MemorySettings)
    health: HealthSettings = field(default_factory=HealthSettings)
    test: TestSettings = field(default_factory=TestSettings)
    method: Any = None

    def __post_init__(self) -> None:
        if self.method is None:
            object.__setattr__(self, "method", method_class(self.run.method).SETTINGS())

    @property
    def run_dir(self) -> Path:
        """Folder of the run's checkpoints and logs."""
        base = Path(self.run.logs_dir or f"logs/{self.run.method}_{self.data.dataset}")
        return base / f"trial_{self.data.trial}" if source_of(self.data.dataset).trials else base

    @property
    def data_dir(self) -> Path:
        """Folder or table of the data set."""
        return Path(self.data.data_dir or f"data/{self.data.dataset}")


# Settings that an earlier version stored under another name, or did not have: name now -> name then.
RENAMED = {"embed_batch_size": "test_batch_size"}


@cache
def _shared_groups() -> dict[str, type]:
    hints = get_type_hints(Settings)
    return {group: kind for group, kind in hints.items() if group != "method"}


def groups(method: str) -> dict[str, type]:
    """Attribute of `Settings` -> dataclass, for one method."""
    return {**_shared_groups(), "method": method_class(method).SETTINGS}


def fields_by_name(method: str | None = None) -> dict[str, NamedField]:
    """Setting name -> field: the shared ones and those of one method, or of every method.

    Names are unique, because flags are; methods may share one of the same type and choices.

    Raises:
        SettingError: a method's class cannot be used, or its setting has another
            type than one of the same name.
    """
    result = dict(_shared_by_name())
    owners: dict[str, str] = {}
    for name in [method] if method else METHODS:
        for one in _fields_of_method(name, method_class(name)):
            first = result.setdefault(one.name, one)
            owner = owners.setdefault(one.name, name)
            if (first.kind, first.about.choices) != (one.kind, one.about.choices):
                raise SettingError(
                    f"setting {one.name!r} of method {name!r} has another type or other choices than that of "
                    f"method {owner!r}, and both are one flag; rename it"
                )
    return result


@cache
def _shared_by_name() -> dict[str, NamedField]:
    return {one.name: one for one in iterate(_shared_groups())}


@cache
def _fields_of_method(name: str, method: Any) -> tuple[NamedField, ...]:
    check_method(name, method, _shared_by_name())
    return fields_of(method.SETTINGS, "method")


def readers_of(name: str) -> list[str]:
    """Methods that have a setting of this name of their own; none for a shared setting."""
    return [m for m in METHODS if any(one.name == name for one in fields_of(method_class(m).SETTINGS))]


def from_flat(values: Mapping[str, Any]) -> Settings:
    """{name: value} -> Settings, the rest at their defaults; `flat` is the inverse.

    Raises:
        KeyError: a name that the method does not have. TypeError, ValueError: a value that is not of the
            setting's type.
    """
    method = values.get("method", RunSettings().method)
    known = fields_by_name(method)
    parts: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        one = known[name]
        parts.setdefault(one.group, {})[name] = (
            source_of(value).name if name == "dataset" else one.kind(value)
        )
    return Settings(**{group: kind(**parts.get(group, {})) for group, kind in groups(method).items()})


def flat(settings: Settings) -> dict[str, Any]:
    """Settings -> {name: value}."""
    return {
        name: value
        for group in groups(settings.run.method)
        for name, value in vars(getattr(settings, group)).items()
    }


def from_saved(values: Mapping[str, Any], **changed: Any) -> Settings:
    """Settings of a checkpoint or config.json, also of an earlier version: names that are not known any
    more are left out.

    Args:
        changed: values to use instead, such as a data_dir that moved.

    Raises:
        SettingError: a method, a data set or a value that this version does not have.
    """
    saved = known_values(values)
    try:
        return from_flat(saved | changed)
    except (TypeError, ValueError) as error:
        raise SettingError(f"the saved settings hold a value that cannot be used: {error}") from None


def known_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Those saved values that the method of this version has, under their present names.

    Raises:
        SettingError: a method that is not registered here.
    """
    method = values.get("method", RunSettings().method)
    if method not in METHODS:
        raise SettingError(
            f"it was trained with method {method!r}, which is not registered here; install the "
            "package that offers it (entry point sdcl.methods), or call METHODS.register first. "
            f"Registered: {', '.join(METHODS)}"
        )
    known = fields_by_name(method)
    renamed = {now: values[then] for now, then in RENAMED.items() if then in values and now not in values}
    kept = {name: value for name, value in {**values, **renamed}.items() if name in known}
    if "dataset" in kept:
        kept["dataset"] = source_of(kept["dataset"]).name
    return kept


def forgotten_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Those saved values that `known_values` leaves out: settings that were renamed or removed since."""
    known = known_values(values)
    return {n: value for n, value in values.items() if n not in known and n not in RENAMED.values()}


def check(settings: Settings) -> None:
    """Refuse values that no run can have.

    Raises:
        SettingError: naming the flag and the legal values.
    """
    for group, kind in groups(settings.run.method).items():
        check_values(kind, vars(getattr(settings, group)))
    refuse_labels(settings.run.method, settings.run.labels)
    augment = settings.augment
    translation = augment.translation
    if translation not in TRANSLATIONS and not (translation.startswith(FOLDER) and translation != FOLDER):
        raise SettingError(
            f"--translation must be {', '.join(TRANSLATIONS)} or {FOLDER}DIR, got {translation!r}"
        )
    if augment.jitter_views == "exchanged" and augment.color_jitter and not augment.second_view:
        raise SettingError(
            "--jitter-views exchanged changes the second views alone, and --no-second-view leaves none, so "
            "that --color-jitter would change nothing: add --jitter-views all, or --color-jitter 0"
        )
    batch, test = settings.batch, settings.test
    modes, shots = comma_separated(test.modes), comma_separated(test.shots)
    trials, trial = source_of(settings.data.dataset).trials, settings.data.trial
    if trials and trial not in trials:
        raise SettingError(f"--trial must be one of {trials[0]}..{trials[-1]}, got {trial}")
    known = source_of(settings.data.dataset).modes
    if known and not (modes and set(modes) <= set(known)):
        raise SettingError(
            f"--modes must be {', '.join(known)}, or several with commas between them, got {test.modes!r}"
        )
    if not shots or not all(n.isdecimal() and int(n) > 0 for n in shots):
        raise SettingError(
            f"--shots must be numbers from 1 with commas between them, such as 1,10, got {test.shots!r}"
        )
    if batch.batch_size % batch.num_instances or batch.batch_size_visible % batch.num_instances:
        raise SettingError(
            f"--batch-size {batch.batch_size} and --batch-size-visible {batch.batch_size_visible} must be "
            f"multiples of --num-instances {batch.num_instances}: a batch holds whole clusters"
        )
    check_normalization(settings.model.mean, settings.model.std)
    if settings.model.shallow and "shallow" not in method_class(settings.run.method).branches:
        raise SettingError(
            f"--method {settings.run.method} trains one feature per image and would leave a shallow branch "
            "untrained: add --no-shallow"
        )


def check_normalization(mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    """Refuse one of --mean and --std without the other, or not three numbers. Raises SettingError."""
    if not (len(mean) == len(std) == 3 or mean == std == ()):
        raise SettingError(
            "--mean and --std are given together, three numbers each (red, green, blue), got --mean "
            f"{spelled(mean) or 'nothing'} and --std {spelled(std) or 'nothing'}"
        )


def why_unread(name: str, settings: Settings) -> str:
    """Why nothing in this run reads a setting, and what would; "" if it is read.

    Args:
        name: a setting of the run's method or a shared one, or of another method.
    """
    run_method = settings.run.method
    if name not in fields_by_name(run_method):
        return (
            f"--method {run_method} does not have it; {_listed(readers_of(name), '--method')} would read it"
        )
    if name in getattr(method_class(run_method), "unread", ()):
        return f"--method {run_method} does not use it"
    about = fields_by_name(run_method)[name].about
    if about.method_attribute and not hasattr(method_class(run_method), about.method_attribute):
        methods = [m for m in METHODS if hasattr(method_class(m), about.method_attribute)]
        return f"--method {run_method} does not use it; {_listed(methods, '--method')} would read it"
    dataset = settings.data.dataset
    if about.dataset and name not in source_of(dataset).reads:
        readers = [d for d in DATASETS if name in DATASETS[d].reads]
        return f"data set {dataset} does not use it; {_listed(readers, '-d')} would read it"
    if about.arch and not settings.model.arch.startswith(about.arch):
        return (
            f"--arch {settings.model.arch} does not use it; an architecture {about.arch[0]}_... or another "
            "ViT would read it"
        )
    return unmet_need(about, flat(settings))


def names_affecting(*kinds: str, method: str | None = None) -> frozenset[str]:
    """Names of the settings that affect one of "results", "evaluation", "speed", "output"."""
    return frozenset(name for name, one in fields_by_name(method).items() if one.about.affects in kinds)


def resumable_names() -> frozenset[str]:
    """Settings that may change between a checkpoint and its continuation: what the finished epochs
    computed stays valid.
    """
    always = frozenset(name for name, one in fields_by_name().items() if one.about.resumable)
    return names_affecting(EVALUATION, SPEED, OUTPUT) | always


def repetition_names() -> frozenset[str]:
    """Settings that may differ between repetitions of one experiment."""
    repeated = frozenset(name for name, one in fields_by_name().items() if one.about.repetition)
    return names_affecting(EVALUATION, SPEED, OUTPUT) | repeated


def model_names() -> tuple[str, ...]:
    """Settings that describe the trained network: a test takes them from the checkpoint."""
    return tuple(name for name, one in fields_by_name().items() if one.about.of_model)


def comma_separated(text: str) -> list[str]:
    """ "a, b" -> ["a", "b"]."""
    return [part.strip() for part in text.split(",") if part.strip()]


def _listed(names: Iterable[str], flag: str) -> str:
    return " or ".join(f"{flag} {name}" for name in names) or "nothing"


def number_list(text: str, flag: str) -> list[int]:
    """ "1-3,7" -> [1, 2, 3, 7], of a flag.

    Raises:
        SettingError: anything else, or a number twice.
    """
    try:
        spans = [[int(n) for n in part.split("-")] for part in comma_separated(text)]
        numbers = [n for span in spans for n in range(span[0], span[-1] + 1)]
    except ValueError:
        numbers = []
    if not numbers or len(set(numbers)) < len(numbers):
        raise SettingError(f"{flag} must look like 1-10 or 1,3,5, each number once, got {text!r}")
    return numbers
