"""HTML of a report: one file, no script, nothing from outside (its own policy forbids both). Every string is escaped by `Markup.format`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from markupsafe import Markup, escape

from sdcl.reporting.stylesheet import CSS

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


class Section(NamedTuple):
    """A heading of the page and what stands below it."""

    name: str
    title: str
    body: Markup


class Drawn(NamedTuple):
    """A picture as a data URI. alt: what a reader who does not see it should know."""

    uri: str
    alt: str
    caption: str = ""


def page(title: str, subtitle: str, sections: Iterable[Section], foot: str = "") -> str:
    """The whole document."""
    sections = [s for s in sections if s.body]
    links = joined(Markup('<a href="#{}">{}</a>').format(s.name, s.title) for s in sections)
    parts = joined(Markup('<section id="{}"><h2>{}</h2>{}</section>').format(*s) for s in sections)
    return str(
        Markup(
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
            '<meta http-equiv="Content-Security-Policy" content="{policy}">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            '<link rel="icon" href="data:,"><title>{title}</title><style>{css}</style></head>\n'
            "<body><header><h1>{title}</h1><p>{subtitle}</p><nav>{links}</nav></header>\n<main>{parts}</main>"
            "<footer><p>{foot}</p></footer></body></html>\n"
        ).format(policy=POLICY, title=title, subtitle=subtitle, css=Markup(CSS), links=links, parts=parts, foot=foot)
    )


def joined(parts: Iterable[Markup]) -> Markup:
    return Markup("").join(parts)


def text(words: str) -> Markup:
    return Markup("<p>{}</p>").format(words)


def note(words: str) -> Markup:
    """A sentence that must not be overlooked."""
    return Markup('<p class="note" role="note">{}</p>').format(words)


def listed(lines: Iterable[str]) -> Markup:
    items = joined(Markup("<li>{}</li>").format(line) for line in lines)
    return Markup("<ul>{}</ul>").format(items) if items else Markup("")


def folded(summary: str, body: Markup, opened: bool = False) -> Markup:
    return Markup("<details{}><summary>{}</summary>{}</details>").format(Markup(" open") if opened else "", summary, body)


def figures(drawn: Sequence[Drawn], large: bool = False) -> Markup:
    """Pictures side by side, as many as the screen has room for."""
    made = joined(
        Markup('<figure><img src="{}" alt="{}">{}</figure>').format(
            d.uri, d.alt, Markup("<figcaption>{}</figcaption>").format(d.caption) if d.caption else ""
        )
        for d in drawn
    )
    return Markup('<div class="figures{}">{}</div>').format(" large" * large, made) if made else Markup("")


def table(header: Sequence[object], rows: Iterable[Sequence[object]], caption: str = "") -> Markup:
    """Cells that are numbers, or numbers with a deviation, stand right. A cell may be Markup; all else is escaped."""
    rows = [list(row) for row in rows]
    numeric = [bool(column) and all(map(_is_number, column)) for column in zip(*rows)] or [False] * len(header)
    head = joined(
        Markup('<th scope="col"{}>{}</th>').format(Markup(' class="n"') if right else "", cell) for cell, right in zip(header, numeric)
    )
    body = joined(Markup("<tr>{}</tr>").format(joined(_cell(cell) for cell in row)) for row in rows)
    title = Markup("<caption>{}</caption>").format(caption) if caption else ""
    return Markup('<div class="wide"><table>{}<thead><tr>{}</tr></thead><tbody>{}</tbody></table></div>').format(title, head, body)


def cards(pairs: Iterable[tuple[str, str]]) -> Markup:
    """Numbers to see first: (number, what it is)."""
    made = joined(Markup("<div><b>{}</b><span>{}</span></div>").format(*pair) for pair in pairs)
    return Markup('<div class="cards">{}</div>').format(made) if made else Markup("")


def _cell(cell: object) -> Markup:
    return Markup("<td{}>{}</td>").format(Markup(' class="n"') if _is_number(cell) else "", escape(cell))


def _is_number(cell: object) -> bool:
    words = cell.striptags() if isinstance(cell, Markup) else str(cell)
    return words == "–" or words[:1].isdigit() or (words[:1] in "+-−" and words[1:2].isdigit())
