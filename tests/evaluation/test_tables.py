"""Tables: the numbers, their order, and that each format can be read back."""

import json

import numpy as np
import pytest

from sdcl.evaluation import tables as T
from sdcl.evaluation.metrics import Metrics, mean
from sdcl.evaluation.protocols import Result


def metrics(r1, mAP):
    cmc = np.linspace(r1, 1.0, 20)
    return Metrics(cmc, mAP, mAP / 2, 90, 100)


@pytest.fixture
def results():
    draws = [metrics(0.05, 0.5), metrics(0.15, 0.7)]
    return [
        Result(
            "SYSU-MM01 all-search single-shot, 2 official rand_perm_cam draws",
            "infrared to visible",
            mean(draws),
            draws,
            301,
        ),
        Result("RegDB", "thermal to visible", metrics(1.0, 1.0), [metrics(1.0, 1.0)], 2060),
    ]


FIRST = ["10.00", "28.95", "52.63", "100.00", "60.00", "30.00"]  # linspace(0.1, 1, 20) at ranks 1, 5, 10, 20
SECOND = ["100.00"] * 5 + ["50.00"]


def test_text(results):
    lines = T.results_table(results).splitlines()
    assert lines[0].split() == [*T.COLUMNS, "protocol", "direction"]
    assert lines[1].split()[:6] == FIRST and lines[2].split()[:6] == SECOND
    for word in ("protocol", "direction"):
        place = lines[0].index(word)
        assert all(line[place - 1] == " " and line[place] != " " for line in lines)  # aligned


def test_markdown(results):
    lines = T.markdown_rows(results).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells[0] == ["protocol", "direction", *T.COLUMNS] and {len(row) for row in cells} == {8}
    assert cells[2][2:] == FIRST and cells[3] == ["RegDB", "thermal to visible", *SECOND]
    assert T.markdown_rows(results, header=False).splitlines() == lines[2:]


def test_latex(results):
    first, second = T.latex_rows(results).splitlines()
    assert first.endswith(r"\\") and r"rand\_perm\_cam" in first
    assert [cell.strip(" \\") for cell in first.split("&")][1:] == FIRST
    assert second == "RegDB, thermal to visible & " + " & ".join(SECOND) + r" \\"
    assert T.latex_rows(results, header=True).splitlines()[0].split(" & ")[1:] == [
        *T.COLUMNS[:-1],
        r"mINP \\",
    ]


def test_json(results):
    rows = json.loads(T.to_json(results))
    assert rows == T.to_rows(results)
    assert rows[0]["R1"] == pytest.approx(10) and rows[0]["mAP"] == pytest.approx(60)
    assert [draw["mAP"] for draw in rows[0]["per_draw"]] == pytest.approx([50, 70])
    assert (
        rows[0]["std"]["mAP"] == pytest.approx(10 * 2**0.5) and "std" not in rows[1]
    )  # sample deviation; of one draw there is none
    assert [row["trials"] for row in json.loads(T.to_json(results, [3, 5]))] == [[3, 5]] * 2
    assert (rows[0]["gallery_size"], rows[0]["num_valid"], rows[0]["num_queries"]) == (301, 90, 100)


def test_trials(results):
    """A row per trial and, below it, mean and deviation, each in the papers' order."""
    lines = T.markdown_trials(results[:1], [3, 5]).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells[0] == ["protocol", "direction", "trial", *T.COLUMNS] and {len(row) for row in cells} == {9}
    assert [row[2] for row in cells[2:]] == ["3", "5", "mean ± std"]
    assert [row[7] for row in cells[2:]] == ["50.00", "70.00", "60.00 ± 14.14"]


def test_a_short_cmc_is_refused():
    with pytest.raises(ValueError, match="20"):
        T.percentages(Metrics(np.ones(10), 1.0, 1.0, 1, 1))
