"""The structure of a report page, so that tests can ask for elements instead of sentences."""

from html.parser import HTMLParser
from pathlib import Path


class Page(HTMLParser):
    """A parsed page.

    Attributes:
        elements: (tag, attributes) of every element. sections: id -> Section.
    """

    def __init__(self, page):
        super().__init__()
        self.elements, self.sections, self.titles = [], {}, []
        self._section, self._open = Section(), []
        self.feed(page.read_text(encoding="utf-8") if isinstance(page, Path) else page)

    def all(self, tag):
        """Attributes of every element of this kind."""
        return [attributes for name, attributes in self.elements if name == tag]

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.elements.append((tag, attributes))
        if tag == "section":
            self._section = self.sections[attributes["id"]] = Section()
        if tag == "tr":
            self._section.rows.append([])
        if tag in ("td", "th", "li", "h3", "p"):
            self._open.append([])
        if tag == "img":
            self._section.images.append(attributes["alt"])

    def handle_endtag(self, tag):
        if tag in ("td", "th", "li", "h3", "p") and self._open:
            text = " ".join("".join(self._open.pop()).split())
            if tag in ("td", "th"):
                self._section.rows[-1].append(text)
            else:
                {"li": self._section.bullets, "h3": self._section.headings, "p": self._section.paragraphs}[
                    tag
                ].append(text)

    def handle_data(self, data):
        for text in self._open:
            text.append(data)


class Section:
    """What stands in one section: rows of its tables, alternative texts of its images, list items,
    headings, paragraphs.
    """

    def __init__(self):
        self.rows, self.images, self.bullets, self.headings, self.paragraphs = [], [], [], [], []
