"""MkDocs hook: writes the tables of settings and recipes into flags.md from the settings' own fields,
so that they cannot drift.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sdcl.config.fields import NamedField

ROOT = Path(__file__).parents[1]
MARK = "<!-- settings -->"


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Replace the mark in flags.md."""
    if page.file.src_uri != "flags.md":
        return markdown
    if MARK not in markdown:
        raise ValueError(f"flags.md lost its mark {MARK}")
    return markdown.replace(MARK, settings_tables())


def settings_tables() -> str:
    """Markdown: a table for each group of shared settings and each method, and one of the recipes."""
    sys.path.insert(0, str(ROOT))
    try:
        from sdcl.config import METHODS
        from sdcl.config.fields import fields_of
        from sdcl.config.settings import groups
    finally:
        sys.path.pop(0)
    name = next(iter(METHODS))
    shared = {group: kind for group, kind in groups(name).items() if group != "method"}
    parts = [
        section(title, fields_of(kind), kind.__doc__ or "")
        for title, kind in [
            *shared.items(),
            *((f"method: {name}", method.SETTINGS) for name, method in METHODS.items()),
        ]
        if fields_of(kind)
    ]
    rows = [
        f"| {name} | {data} | " + ", ".join(f"`{key} {value}`" for key, value in values.items()) + " |"
        for name, method in METHODS.items()
        for data, values in method.RECIPES.items()
    ]
    recipes = (
        "## Recipes\n\nWhat each released script ran with where it differs from the defaults above; the "
        "baseline, DCCL and TAA "
    )
    recipes += (
        "have no released script. All other data sets take the recipes of `sysu`, untuned, unless they have "
        "a row.\n\n"
        "| method | data set | values |\n|---|---|---|\n" + "\n".join(rows)
    )
    return "\n\n".join([*parts, recipes])


def section(title: str, fields: Iterable[NamedField], text: str) -> str:
    """A heading and the table of one dataclass."""
    head = "| flag | default | | legal | read |\n|---|---|---|---|---|\n"
    return f"## {title}\n\n{text.splitlines()[0] if text else ''}\n\n{head}" + "\n".join(map(row, fields))


def row(one: NamedField) -> str:
    """One setting."""
    from sdcl.config.fields import Bounds, OneOf

    about = one.about
    long = f"--[no-]{one.flag[2:]}" if one.kind is bool else one.flag
    flags = "<br>".join(f"`{flag}`" for flag in (*about.flags, long))
    default = "" if one.default in ("", ()) else f"`{one.default}`"
    legal = ", ".join(f"`{c}`" for c in about.choices) if about.choices else str(about.bounds or "")
    read = [
        f"with `{key}` {value}" if isinstance(value, (Bounds, OneOf)) else f"with `{key} {value}`"
        for key, value in about.needs.items()
    ]
    if about.needs_any:
        read += ["with " + " or ".join(f"`{key} {value}`" for key, value in about.needs_any.items())]
    read += ["by some data sets"] if about.dataset else []
    read += ["by " + ", ".join(f"`{begin}*`" for begin in about.arch)] if about.arch else []
    read += ["by some methods"] if about.method_attribute else []
    return f"| {flags} | {default} | {about.help} | {legal} | {', '.join(read)} |".replace("||", "\\|\\|")
