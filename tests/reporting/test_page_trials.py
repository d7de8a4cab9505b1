"""The page of several trials: every number, mean and deviation, what differs, what is missing."""

from pathlib import Path

import pytest
from helpers.pages import Page

from sdcl.reporting.page_trials import trials_page
from sdcl.reporting.run_record import Record


def trial(number, r1, *, tested=True, **changed):
    directions = ("visible to thermal", "thermal to visible")
    results = [
        {"protocol": "RegDB", "direction": d, "R1": r1 + i, "R5": 60.0, "R10": 70.0, "R20": 80.0, "mAP": 40.0}
        for i, d in enumerate(directions)
    ]
    settings = {
        "method": "sdcl",
        "dataset": "regdb",
        "arch": "vit_base",
        "seed": 1,
        "trial": number,
        "eps": 0.3,
    }
    labels = {
        m: {"clusters": 200 + number, "true_identities": 206, "churn": 0.1 * number}
        for m in ("visible", "infrared")
    }
    rows = [
        {"epoch": e, "stage": "s", "loss": 1.0, "labels": labels, "test": results, "seconds": {"train": 1800}}
        for e in (0, 1)
    ]
    return Record(
        Path(f"r/trial_{number}"),
        f"r/trial_{number}",
        settings | changed,
        {},
        rows,
        results if tested else [],
        "test.json",
    )


def test_every_trial_and_their_mean():
    page = Page(trials_page("sdcl_regdb", [trial(1, 80.0), trial(2, 82.0), trial(3, 84.0)]))
    results = page.sections["results"]
    assert results.headings == ["RegDB, visible to thermal", "RegDB, thermal to visible"]
    assert results.rows[1] == [
        "trial 1",
        "80.00",
        "60.00",
        "70.00",
        "80.00",
        "40.00",
        "–",
    ]  # these rows hold no mINP
    assert results.rows[4][:2] == ["mean ± std", "82.00 ± 2.00"] and results.rows[9][1] == "83.00 ± 2.00"
    assert len(page.sections["curves"].images) == 4  # R1 and mAP of two directions
    assert len(page.sections["labels"].images) == 4  # clusters and churn of two modalities
    assert [row[-1] for row in page.sections["trials"].rows] == ["hours", "1.00", "1.00", "1.00"]
    assert page.sections["summary"].bullets == []
    assert not any("report.html" in a["href"] for a in page.all("a"))


def test_different_settings_are_named():
    page = Page(trials_page("x", [trial(1, 80.0), trial(2, 82.0, eps=0.5)]))
    assert page.sections["summary"].bullets == ["eps: r/trial_1 0.3, r/trial_2 0.5"]
    assert any(a.get("role") == "note" for a in page.all("p"))


@pytest.mark.parametrize("tested", [1, 0])
def test_a_trial_without_a_test_is_not_counted(tested):
    page = Page(trials_page("x", [trial(1, 80.0, tested=bool(tested)), trial(2, 82.0, tested=False)]))
    assert [row[1] for row in page.sections["results"].rows[1:3]] == ["80.00", "80.00"] * tested


def test_hostile_names_stay_text():
    page = Page(trials_page("<b>x", [trial(1, 80.0, arch="<script>")]))
    assert not page.all("script") and ["arch", "'<script>'"] in page.sections["settings"].rows
