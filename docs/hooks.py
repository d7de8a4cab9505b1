"""MkDocs hook: writes the table of settings into flags.md from the settings' own fields, so that it cannot drift."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
MARK = "<!-- settings -->"


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Replace the mark in flags.md."""
    if page.file.src_uri != "flags.md":
        return markdown
    assert MARK in markdown, f"flags.md lost its mark {MARK}"
    return markdown.replace(MARK, settings_tables())


def settings_tables() -> str:
    """Markdown: one table per group of settings, one row per flag."""
    sys.path.insert(0, str(ROOT))
    try:
        from sdcl.config.settings import fields_by_name
    finally:
        sys.path.pop(0)
    groups: dict[str, list[str]] = {}
    for name, (group, field, kind) in fields_by_name().items():
        groups.setdefault(group, []).append(row(name, field, kind))
    head = "| flag | default | |\n|---|---|---|\n"
    return "\n\n".join(f"## {group}\n\n{head}" + "\n".join(rows) for group, rows in groups.items())


def row(name: str, field: dataclasses.Field[Any], kind: type) -> str:
    dashed = name.replace("_", "-")
    flags = [*field.metadata.get("flags", ()), f"--[no-]{dashed}" if kind is bool else f"--{dashed}"]
    default = "" if field.default == "" else f"`{field.default}`"
    text = str(field.metadata["help"]).replace("|", "\\|")
    return f"| {' '.join(f'`{flag}`' for flag in flags)} | {default} | {text} |"
