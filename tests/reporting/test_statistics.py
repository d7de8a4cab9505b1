"""Groups, means, paired tests and tables of several runs."""

import csv
import io
import itertools
from pathlib import Path

import numpy as np
import pytest

from sdcl.reporting import page_comparison as several
from sdcl.reporting import statistics as compare
from sdcl.reporting.run_record import Record


def run(seed, r1, *, trial=1, dataset="sysu", data="d", **settings):
    results = [
        {"protocol": "P_1, ten | draws", "direction": "a to b", "R1": r1, "R5": 50.0, "R10": 60.0, "R20": 70.0, "mAP": r1 - 1, "mINP": 5.0}
    ]
    own = {"method": "sdcl", "dataset": dataset, "seed": seed, "trial": trial, "logs_dir": f"logs/{seed}", "eps": 0.6, **settings}
    rows = [{"epoch": e, "test": [r | {"R1": r1 - 1 + e} for r in results]} for e in (0, 1)]
    return Record(Path(f"logs/{seed}"), f"seed{seed}", own, {"data": data}, rows, results, "test.json")


def groups():
    first = [run(s, v) for s, v in ((1, 30.0), (2, 32.0), (3, 34.0))]
    second = [run(s, v, eps=0.5) for s, v in ((3, 37.0), (1, 31.0), (2, 34.0))]
    return compare.group_runs([first[0], second[0], first[1], second[1], first[2], second[2]])


def test_groups_are_equal_settings_but_for_seed_and_places():
    a, b = groups()
    assert (a.name, b.name) == ("A: eps=0.6", "B: eps=0.5")
    assert [r.settings["seed"] for r in a.runs] == [1, 2, 3]
    assert len(compare.group_runs([run(1, 1.0), run(2, 1.0, data="other images")])) == 2
    assert len(compare.group_runs([run(1, 1.0, report="logs"), run(2, 1.0, report="full")])) == 1
    trials = [run(1, 1.0, dataset="regdb", trial=t, data=f"split {t}") for t in (1, 2)]
    assert len(compare.group_runs(trials)) == 1


def test_mean_and_sample_deviation():
    row = compare.summarize(groups())[0]
    assert row.runs == 3 and row.means[0] == pytest.approx(32) and row.deviations[0] == pytest.approx(2)
    alone = compare.summarize(compare.group_runs([run(1, 30.0)]))[0]
    assert compare.cell(alone.means[0], alone.deviations[0]) == "30.00"
    assert compare.cell(row.means[0], row.deviations[0]) == "32.00 ± 2.00"


def test_pairs_are_of_the_same_seed():
    found = compare.paired_tests(groups())
    r1 = found[0]
    assert (r1.metric, r1.pairs) == ("R1", 3) and r1.difference == pytest.approx((1 + 2 + 3) / 3)
    assert r1.sign_flip == pytest.approx(0.25)  # the least that three pairs can give
    assert compare.paired_tests(compare.group_runs([run(1, 30.0), run(2, 31.0, eps=0.5)])) == []


def test_runs_of_the_same_seed_are_no_pairs():
    twice = compare.group_runs([run(1, 30.0), run(1, 31.0), run(2, 30.0), run(1, 3.0, eps=0.5), run(2, 4.0, eps=0.5)])
    assert compare.repeated_seeds(twice[0]) == [("1", "1")] and compare.repeated_seeds(twice[1]) == []
    assert compare.paired_tests(twice) == []  # one seed is left
    assert "several runs of trial 1, seed 1" in several.groups_table(twice)


def test_a_metric_that_a_run_lacks_costs_its_pair_only():
    runs = [r for g in groups() for r in g.runs]
    del runs[0].results[0]["mINP"]
    found = {p.metric: p for p in compare.paired_tests(compare.group_runs(runs))}
    assert (found["R1"].pairs, found["mINP"].pairs) == (3, 2) and found["R1"].difference == pytest.approx(2)


def test_differences_that_rounding_alone_tells_apart_give_no_t_test():
    a = np.array([30.1, 31.2, 33.3])
    assert np.isnan(compare.p_values(a, a + 0.1)[0]) and compare.p_values(a, a + 0.1)[1] == pytest.approx(0.25)


def test_sign_flip_against_all_signs_by_hand():
    draw = np.random.default_rng(0)
    a, b = draw.normal(size=7), draw.normal(0.6, size=7)
    flips = [abs(np.mean(np.array(s) * (b - a))) for s in itertools.product((-1, 1), repeat=7)]
    assert compare.p_values(a, b)[1] == pytest.approx(np.mean(np.array(flips) >= abs((b - a).mean()) - 1e-12))
    assert np.isnan(compare.p_values(np.zeros(2), np.zeros(2))[0])
    assert np.isnan(compare.p_values(draw.normal(size=13), draw.normal(size=13))[1])


def test_tables():
    rows = compare.summarize(groups())
    markdown = compare.markdown(rows).splitlines()
    assert markdown[0] == "| group | protocol | direction | runs | R1 | R5 | R10 | R20 | mAP | mINP |"
    assert markdown[2].startswith("| A: eps=0.6 | P_1, ten \\| draws | a to b | 3 | 32.00 ± 2.00 | 50.00 ± 0.00 |")
    latex = compare.latex(rows).splitlines()
    assert latex[1].startswith(r"A: eps=0.6, P\_1, ten | draws, a to b & 3 & 32.00 $\pm$ 2.00 &") and latex[1].endswith(r"\\")
    assert latex[1].count("&") == 7
    table = list(csv.DictReader(io.StringIO(compare.as_csv(rows))))
    assert float(table[1]["R1"]) == 34.0 and float(table[0]["R1_std"]) == 2.0


def test_page(tmp_path):
    records = [r for g in groups() for r in g.runs]
    written = several.write(records, tmp_path / "both.html")
    assert [p.name for p in written] == ["both.html", "both.md", "both.tex", "both.csv"]
    html = written[0].read_text()
    assert "What differs between the groups" in html and "0.250" in html and "32.00 ± 2.00" in html
    assert html.count("<img") == 3  # R1, mAP, mINP
    bare = several.comparison_page([Record(Path("x"), "<x>"), Record(Path("y"), "y")])
    assert "None of these runs was tested" in bare and "&lt;x&gt;" in bare
