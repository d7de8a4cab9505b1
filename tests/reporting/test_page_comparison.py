"""The comparison page: groups, differences, means, paired tests, one chart per metric."""

from pathlib import Path

from helpers.pages import Page

from sdcl.reporting.page_comparison import comparison_page
from sdcl.reporting.run_record import Record


def test_groups_and_their_differences(six_runs):
    section = Page(comparison_page(six_runs)).sections["groups"]
    assert ["A", "3", "seed1, seed2, seed3"] in section.rows and [
        "B",
        "3",
        "seed3, seed1, seed2",
    ] in section.rows
    assert section.rows[-2:] == [["setting", "A", "B"], ["eps", "0.6", "0.5"]] and section.bullets == []


def test_results_tests_and_charts(six_runs):
    sections = Page(comparison_page(six_runs)).sections
    assert sections["results"].rows[1][:5] == [
        "A: eps=0.6",
        "P_1, ten | draws",
        "a to b",
        "3",
        "32.00 ± 2.00",
    ]
    assert sections["tests"].rows[1][0] == "B − A" and sections["tests"].rows[1][-1] == "0.250"
    assert [alt.split(" over")[0] for alt in sections["curves"].images] == [
        "R1, P_1",
        "mAP, P_1",
        "mINP, P_1",
    ]
    assert len(sections["runs"].rows) == 7


def test_runs_of_the_same_seed_are_named(run):
    page = Page(comparison_page([run(1, 30.0), run(1, 31.0), run(2, 30.0)]))
    (line,) = page.sections["groups"].bullets
    assert "trial 1, seed 1" in line


def test_runs_without_results_and_with_hostile_names():
    page = Page(
        comparison_page([Record(Path("x"), "<x>", missing=["<i>"], notices=["<b>"]), Record(Path("y"), "y")])
    )
    assert (
        page.sections["results"].rows == []
        and page.sections["tests"].rows == []
        and "curves" not in page.sections
    )
    assert (
        page.sections["groups"].bullets[-1] == "<x>: <i>" and page.sections["groups"].paragraphs[0] == "<b>"
    )
    assert not page.all("x") and not page.all("i")
