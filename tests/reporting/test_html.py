"""Pages escape every value, stand alone, and align numbers."""

from html import unescape

import pytest
from helpers.pages import Page

from sdcl.reporting.html import Chart, Link, Table, render, write_page

EVIL = "\"'><script>alert(1)</script>{{ 7 * 7 }}"


def comparison(text=EVIL, **changed):
    """The comparison page with `text` wherever it takes a value."""
    table = Table([text], [[text]], text)
    values = {
        "title": text, "subtitle": text, "notices": [text], "groups": table, "repeated": [text],
        "differences": table, "missing": [text], "results": table, "tests": table,
        "curves": [Chart("data:,", text, text)], "runs": table,
    }  # fmt: skip
    return render("comparison.html", **(values | changed))


def test_every_value_is_escaped():
    page = comparison()
    elements = Page(page)
    assert not elements.all("script") and {"alt": EVIL, "src": "data:,"} in elements.all("img")
    assert EVIL in unescape(page) and EVIL not in page and "49" not in page.split("</style>")[1]
    assert {tag for tag, _ in elements.elements} == {tag for tag, _ in Page(comparison("x")).elements}


def test_a_page_stands_alone():
    page = comparison("x")
    elements = Page(page)
    policy = [a["content"] for a in elements.all("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]
    assert [a["href"] for a in elements.all("link")] == ["data:,"]
    assert not any(part in page for part in ("http:", "https:", "<script", "@import", "url("))
    assert page.count("<style>") == 1 and "@media print" in page


def test_the_navigation_lists_the_sections_with_content():
    elements = Page(comparison("x"))
    sections = [a["id"] for a in elements.all("section")]
    assert sections == ["groups", "results", "tests", "curves", "runs"]
    assert [a["href"] for a in elements.all("a")] == [f"#{name}" for name in sections]
    assert "curves" not in [a["id"] for a in Page(comparison("x", curves=[])).all("section")]


def test_numbers_are_aligned_to_the_right():
    table = Table(["a", "b"], [["-0.5", "word"], ["12.00 ± 0.50", "+1"]], mean=["–", "x"])
    assert table.numeric == [True, False]
    assert Table(["a"], []).numeric == [False]
    elements = Page(comparison("x", runs=table))
    assert sum(a.get("class") == "n" for a in elements.all("td")) == 4
    assert len(elements.all("b")) == 2  # the row of means


def test_a_cell_can_be_a_link():
    elements = Page(comparison("x", runs=Table(["a"], [[Link("trial_1", "trial_1/report.html")]])))
    assert "trial_1/report.html" in [a["href"] for a in elements.all("a")]


def test_a_forgotten_value_is_an_error():
    with pytest.raises(Exception, match="undefined"):
        render("comparison.html", title="x")


def test_a_file_name_that_is_not_utf8_can_be_written(tmp_path):
    write_page(tmp_path / "page.html", "run \udcff")
    assert (tmp_path / "page.html").read_text() == "run \\udcff"
