"""Settings of a run, their flags, their recipes, and the registry of methods."""

from sdcl.config.command_line import (
    describe,
    differences_from_recipe,
    notes_on_late_starts,
    notes_on_released_line,
    parse,
    parser,
    resolve,
)
from sdcl.config.registry import METHODS
from sdcl.config.settings import Settings, fields_by_name, flat, from_flat, from_saved

__all__ = [
    "METHODS",
    "Settings",
    "describe",
    "differences_from_recipe",
    "fields_by_name",
    "flat",
    "from_flat",
    "from_saved",
    "notes_on_late_starts",
    "notes_on_released_line",
    "parse",
    "parser",
    "resolve",
]
