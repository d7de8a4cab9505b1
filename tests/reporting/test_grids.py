"""Choice of the queries and clusters that a page shows; right and wrong differ in more than colour."""

import numpy as np
from helpers.pages import Page

from sdcl.reporting import grids
from sdcl.reporting.html import Table, render
from sdcl.reporting.page_run import ModelViews, SettingsTables


def test_best_median_worst():
    precision = np.array([0.5, np.nan, 0.9, 0.1, 0.4, 0.6])
    assert grids.best_median_worst(precision) == {"Best": 2, "Median": 0, "Worst": 3}
    assert grids.best_median_worst(np.array([np.nan])) == {}


def test_notable_clusters():
    ids = np.array([0] * 5 + [1] * 4 + [2] * 3 + [-1] * 9)
    people = np.array([7] * 5 + [1, 2, 3, 4] + [5] * 3 + [6] * 9)
    cameras = np.array([1] * 5 + [1] * 4 + [1, 2, 3] + [1] * 9)
    assert grids.notable_clusters(ids, people, cameras) == {
        "Largest": 0,
        "Least pure": 1,
        "Most mixed over cameras": 2,
    }
    assert grids.notable_clusters(ids[-9:], people[-9:], cameras[-9:]) == {}
    assert grids.notable_clusters(ids[:5], people[:5], cameras[:5]) == {"Largest": 0}


def tile(correct, similarity=None):
    return grids.Tile(np.zeros((40, 20, 3), np.uint8), 3, 6, correct, similarity)


def page_with(**views):
    empty = Table([], [])
    lists = {name: [] for name in ("notices", "numbers", "missing", "curves", "label_charts", "time_charts")}
    settings = SettingsTables(empty, empty, empty)
    return render(
        "run.html", title="", subtitle="", results=empty, epochs=0, published_withheld=False,
        views=ModelViews(**views), cluster_images=15, settings=settings, use_of_identities="", **lists,
    )  # fmt: skip


def test_right_and_wrong_have_a_symbol_and_words():
    query = grids.RankedQuery("Best", 0.5, tile(None), [tile(True, 0.75), tile(False, 0.5)])
    html = page_with(rankings=[grids.Ranking("A to B", "note <b>", [query])])
    page = Page(html)
    assert page.sections["ranked"].images == [
        "Query, identity 3, camera 6",
        "1, identity 3, camera 6, same identity",
        "2, identity 3, camera 6, another identity",
    ]
    assert "note <b>" in page.sections["ranked"].paragraphs
    assert [a["class"] for a in page.all("div") if a["class"].startswith("tile")] == [
        "tile query",
        "tile right",
        "tile wrong",
    ]
    assert "✓ 1" in html and "✗ 2" in html and "0.75" in html


def test_clusters():
    page = Page(
        page_with(
            clusters={"visible": [grids.Cluster("Least pure", 9, 4, 0.25, [1, 2], [tile(True), tile(False)])]}
        )
    )
    section = page.sections["clusters"]
    assert section.headings == ["Visible"] and len(section.images) == 2
    assert "Least pure: 9 images of 4 identities, purity 0.25, cameras 1, 2" in section.paragraphs
