"""The one registry of methods: name -> class with its settings and recipes, imported when it is first used.

A method of another package joins with one call, `METHODS.register("name", Class)`, or, without any call, with
an entry point of the group "sdcl.methods":

    [project.entry-points."sdcl.methods"]
    name = "package.module:Class"
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from sdcl.runtime.errors import SettingError

ENTRY_POINTS = "sdcl.methods"
BUILT_IN = {
    "sdcl": "sdcl.methods.sdcl:SDCL",
    "gur": "sdcl.methods.gur:GUR",
    "adca": "sdcl.methods.adca:ADCA",
    "pgm": "sdcl.methods.pgm:PGM",
    "hil": "sdcl.methods.hil:HIL",
    "bmil": "sdcl.methods.bmil:BMIL",
    "dccl": "sdcl.methods.dccl:DCCL",
    "taa": "sdcl.methods.taa:TAA",
    "baseline": "sdcl.methods.baseline:Baseline",
}


class MethodRegistry(Mapping[str, Any]):
    """Method name -> class (see `sdcl.methods.interface.Method`)."""

    def __init__(self, built_in: Mapping[str, str]):
        self._entries: dict[str, Any] = dict(built_in)
        self._entry_points_read = False

    def register(self, name: str, method: Any) -> None:
        """Add a method: its class, or "module:Class", which is imported when it is used.

        Raises:
            SettingError: another method has this name.
        """
        known = self._all().get(name)
        if known is not None and known != method:
            raise SettingError(f"a method named {name!r} is registered already; choose another name")
        self._entries[name] = method

    def _all(self) -> dict[str, Any]:
        if not self._entry_points_read:
            self._entry_points_read = True
            for point in entry_points(group=ENTRY_POINTS):
                if self._entries.setdefault(point.name, point.value) != point.value:
                    package = point.dist.name if point.dist else "a package"
                    raise SettingError(
                        f"{package} offers a method named {point.name!r} ({point.value}), and there is one "
                        f"already; rename its entry point, or uninstall {package}"
                    )
        return self._entries

    def __getitem__(self, name: str) -> Any:
        entry = self._all()[name]
        if isinstance(entry, str):
            module, _, attribute = entry.partition(":")
            try:
                entry = getattr(import_module(module), attribute, None)
            except ImportError as error:
                raise SettingError(
                    f"method {name!r} cannot be imported from {module}: {error}; mend it, or "
                    "uninstall the package that offers it"
                ) from error
            if entry is None:
                raise SettingError(
                    f"method {name!r}: {module} has no class {attribute}; correct its entry point"
                )
            self._entries[name] = entry
        return entry

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())


METHODS = MethodRegistry(BUILT_IN)


def method_class(name: str) -> Any:
    """The class of a method. Raises SettingError for an unknown name."""
    if name not in METHODS:
        raise SettingError(f"--method must be one of {', '.join(METHODS)}, got {name!r}")
    return METHODS[name]
