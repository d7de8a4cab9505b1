"""Render report pages from the Jinja2 templates in `templates/`.

A page is one file without scripts: styles are inline, images are data URIs, and its content security policy
forbids everything else. Jinja2 escapes every value, so names of runs, files and settings may hold any
character.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined

from sdcl.reporting.style import jpeg_uri
from sdcl.runtime.files import write_bytes


class Chart(NamedTuple):
    """A drawn figure as a data URI. alt: its content in words, for readers who cannot see it."""

    uri: str
    alt: str
    caption: str = ""


class Link(str):
    """A table cell that links to `href`."""

    href: str

    def __new__(cls, text: str, href: str) -> Link:
        link = super().__new__(cls, text)
        link.href = href
        return link


@dataclass(frozen=True)
class Table:
    """Cells of a table; a cell that begins with a number is aligned to the right.

    Args:
        header: names of the columns.
        rows: one cell per column each.
        mean: a last row in bold; empty: none.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[object]]
    caption: str = ""
    mean: Sequence[object] = ()

    @property
    def numeric(self) -> list[bool]:
        """Whether a column holds numbers only."""
        rows = [*self.rows, self.mean] if self.mean else self.rows
        return [
            bool(rows) and all(is_numeric(row[column]) for row in rows) for column in range(len(self.header))
        ]


def is_numeric(cell: object) -> bool:
    """Whether a cell is a number, a number with a deviation, or the dash of a missing number."""
    text = str(cell)
    return text == "–" or text[:1].isdigit() or (text[:1] in "+-−" and text[1:2].isdigit())


def render(template: str, **values: Any) -> str:
    """Return the HTML of a page: "run.html", "trials.html" or "comparison.html" filled with `values`."""
    return _environment().get_template(template).render(contents=[], **values)


def write_page(target: Path, text: str) -> None:
    """Write a page or table as UTF-8; bytes of a file name that are not UTF-8 become visible escapes.

    Raises:
        OutputError: the file cannot be written.
    """
    write_bytes(target, text.encode("utf-8", "backslashreplace"))


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("sdcl.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.do"],
    )
    environment.filters["jpeg"] = jpeg_uri
    environment.tests["numeric"] = is_numeric
    return environment
