"""Check the class of a method when it is first used, so that a mistake is named at
once and with the method's name.

All methods' settings are flags of one command line: an unfinished method would otherwise break every run.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, get_args, get_origin, get_type_hints

from sdcl.config.fields import NamedField, fields_of
from sdcl.runtime.errors import SettingError

REQUIRED = ("SETTINGS", "RECIPES", "branches", "agw", "unit_views", "stages", "steps_per_epoch")
PLAIN = (bool, int, float, str)


def check_method(name: str, method: Any, shared: Mapping[str, NamedField]) -> None:
    """Refuse a method whose class lacks something, or names settings that do not exist.

    Args:
        name: of the method. shared: the settings of every method, by name.

    Raises:
        SettingError: all that is wrong, a line each.
    """
    wrong = [f"it has no attribute {attribute}" for attribute in REQUIRED if not hasattr(method, attribute)]
    if hasattr(method, "SETTINGS"):
        wrong += _wrong_fields(method.SETTINGS)
    if not wrong:
        own = {one.name: one for one in fields_of(method.SETTINGS, "method")}
        wrong = [
            *(
                f"setting {clash!r} has the name of a shared setting; rename it"
                for clash in own
                if clash in shared
            ),
            *_unknown_names(method, own, {**shared, **own}),
            *_wrong_recipes(method.RECIPES, {**shared, **own}),
        ]
    if wrong:
        where = f"{getattr(method, '__module__', '?')}:{getattr(method, '__qualname__', method)}"
        raise SettingError(
            f"method {name!r} ({where}) cannot be used:\n  "
            + "\n  ".join(wrong)
            + "\nsee Method in sdcl/methods/interface.py"
        )


def _wrong_fields(settings: Any) -> list[str]:
    if not (isinstance(settings, type) and dataclasses.is_dataclass(settings)):
        return [f"SETTINGS must be a dataclass, got {settings!r}"]
    hints = get_type_hints(settings)
    wrong = []
    for one in dataclasses.fields(settings):
        kind = hints[one.name]
        if "setting" not in one.metadata:
            wrong.append(f"setting {one.name!r} is not made by sdcl.config.fields.setting(default, help)")
        elif kind not in PLAIN and get_origin(kind) is not tuple:
            wrong.append(
                f"setting {one.name!r} is of type {kind}; a flag is a bool, int, float, str or tuple"
            )
    return wrong


def _unknown_names(method: Any, own: Mapping[str, NamedField], known: Mapping[str, NamedField]) -> list[str]:
    wrong = [
        f"unread names {n!r}, which is no setting" for n in getattr(method, "unread", ()) if n not in known
    ]
    for one in own.values():
        needed = (*one.about.needs, *one.about.needs_any)
        wrong += [f"setting {one.name!r} needs {n!r}, which is no setting" for n in needed if n not in known]
    return wrong


def _wrong_recipes(recipes: Mapping[str, Mapping[str, Any]], known: Mapping[str, NamedField]) -> list[str]:
    wrong = []
    for dataset, values in recipes.items():
        for name, value in values.items():
            if name not in known:
                wrong.append(f"the recipe of {dataset} sets {name!r}, which is no setting")
            elif not fits(value, known[name].kind):
                kind = getattr(known[name].kind, "__name__", known[name].kind)
                wrong.append(f"the recipe of {dataset} sets {name} to {value!r}, which is not of type {kind}")
    return wrong


def fits(value: Any, kind: Any) -> bool:
    """Whether a value of a recipe or of a JSON file is one of a setting's type."""
    if get_origin(kind) is tuple:
        return isinstance(value, (list, tuple)) and all(fits(v, get_args(kind)[0]) for v in value)
    if kind is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return type(value) is kind
