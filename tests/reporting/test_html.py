"""The page escapes everything it is given and needs nothing from outside."""

from html import unescape

from markupsafe import Markup

from sdcl.reporting import html as page

EVIL = '"><script>alert(1)</script>'


def test_every_string_is_escaped():
    body = page.joined(
        [
            page.text(EVIL), page.note(EVIL), page.listed([EVIL]), page.folded(EVIL, page.text(EVIL)), page.cards([(EVIL, EVIL)]),
            page.table([EVIL], [[EVIL]], EVIL), page.figures([page.Drawn("data:,", EVIL, EVIL)]),
        ]
    )  # fmt: skip
    html = page.page(EVIL, EVIL, [page.Section("a", EVIL, body)], EVIL)
    assert "<script" not in html and html.count("&lt;script&gt;") >= 15


def test_the_page_stands_alone():
    html = page.page("t", "s", [page.Section("a", "A", page.text("x")), page.Section("b", "Empty", Markup(""))])
    assert not any(outside in html for outside in ("http:", "https:", "<script", "stylesheet", "@import", "url("))
    assert "default-src 'none'" in unescape(html)
    assert 'href="#a"' in html and "Empty" not in html


def test_numbers_stand_right():
    html = page.table(["a", "b"], [["-0.5", "word"], ["12.00 ± 0.50", "+1"]])
    assert html.count('<td class="n"') == 3 and '<th scope="col" class="n">a' in html and '<th scope="col">b' in html
