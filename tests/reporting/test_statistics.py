"""Groups, means, paired tests and tables of several runs."""

import csv
import io
import itertools

import numpy as np
import pytest

from sdcl.reporting import statistics


@pytest.fixture
def groups(six_runs):
    return statistics.group_runs(six_runs)


def test_runs_of_a_group_differ_in_seed_and_folders_only(groups, run):
    a, b = groups
    assert (a.name, b.name) == ("A: eps=0.6", "B: eps=0.5")
    assert [r.settings["seed"] for r in a.runs] == [1, 2, 3]
    assert len(statistics.group_runs([run(1, 1.0), run(2, 1.0, data="other images")])) == 2
    assert (
        len(
            statistics.group_runs(
                [run(1, 1.0, report="logs", recompute=False), run(2, 1.0, report="full", recompute=True)]
            )
        )
        == 1
    )
    trials = [run(1, 1.0, dataset="regdb", trial=t, data=f"split {t}") for t in (1, 2)]
    assert len(statistics.group_runs(trials)) == 1


def test_mean_and_sample_deviation(groups, run):
    row = statistics.summarize(groups)[0]
    assert row.runs == 3 and row.means[0] == pytest.approx(32) and row.deviations[0] == pytest.approx(2)
    alone = statistics.summarize(statistics.group_runs([run(1, 30.0)]))[0]
    assert statistics.cell(alone.means[0], alone.deviations[0]) == "30.00"
    assert statistics.cell(row.means[0], row.deviations[0]) == "32.00 ± 2.00"


def test_pairs_are_of_the_same_seed(groups, run):
    r1 = statistics.paired_tests(groups)[0]
    assert (r1.metric, r1.pairs) == ("R1", 3) and r1.difference == pytest.approx((1 + 2 + 3) / 3)
    assert r1.sign_flip == pytest.approx(0.25)  # the least that three pairs can give
    assert statistics.paired_tests(statistics.group_runs([run(1, 30.0), run(2, 31.0, eps=0.5)])) == []


def test_runs_of_the_same_seed_are_not_paired(run):
    repeated = statistics.group_runs(
        [run(1, 30.0), run(1, 31.0), run(2, 30.0), run(1, 3.0, eps=0.5), run(2, 4.0, eps=0.5)]
    )
    assert (
        statistics.repeated_seeds(repeated[0]) == [("1", "1")]
        and statistics.repeated_seeds(repeated[1]) == []
    )
    assert statistics.paired_tests(repeated) == []  # one seed is left


def test_a_missing_metric_drops_its_pair_only(groups):
    runs = [r for g in groups for r in g.runs]
    del runs[0].results[0]["mINP"]
    tests = {p.metric: p for p in statistics.paired_tests(statistics.group_runs(runs))}
    assert (tests["R1"].pairs, tests["mINP"].pairs) == (3, 2) and tests["R1"].difference == pytest.approx(2)


def test_differences_that_are_equal_up_to_rounding_have_no_t_test():
    a = np.array([30.1, 31.2, 33.3])
    assert np.isnan(statistics.p_values(a, a + 0.1)[0]) and statistics.p_values(a, a + 0.1)[
        1
    ] == pytest.approx(0.25)


def test_sign_flip_against_all_signs_by_hand():
    draw = np.random.default_rng(0)
    a, b = draw.normal(size=7), draw.normal(0.6, size=7)
    flips = [abs(np.mean(np.array(s) * (b - a))) for s in itertools.product((-1, 1), repeat=7)]
    assert statistics.p_values(a, b)[1] == pytest.approx(
        np.mean(np.array(flips) >= abs((b - a).mean()) - 1e-12)
    )
    assert np.isnan(statistics.p_values(np.zeros(2), np.zeros(2))[0])
    assert np.isnan(statistics.p_values(draw.normal(size=13), draw.normal(size=13))[1])


def test_tables(groups):
    rows = statistics.summarize(groups)
    markdown = statistics.markdown_table(rows).splitlines()
    assert markdown[0] == "| group | protocol | direction | runs | R1 | R5 | R10 | R20 | mAP | mINP |"
    assert markdown[2].startswith(
        "| A: eps=0.6 | P_1, ten \\| draws | a to b | 3 | 32.00 ± 2.00 | 50.00 ± 0.00 |"
    )
    latex = statistics.latex_table(rows).splitlines()
    assert latex[1].startswith(r"A: eps=0.6, P\_1, ten | draws, a to b & 3 & 32.00 $\pm$ 2.00 &") and latex[
        1
    ].endswith(r"\\")
    assert latex[1].count("&") == 7
    table = list(csv.DictReader(io.StringIO(statistics.csv_table(rows))))
    assert float(table[1]["R1"]) == 34.0 and float(table[0]["R1_std"]) == 2.0
