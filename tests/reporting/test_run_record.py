"""Run folders as they are found: whole, cut short, foreign."""

import json
import math

import pytest

from sdcl.reporting import run_record
from sdcl.reporting.run_record import read_run, trial_folders
from sdcl.runtime.errors import UserError


def folder(tmp_path, **files):
    tmp_path.mkdir(exist_ok=True)
    for name, words in files.items():
        (tmp_path / name.replace("__", ".")).write_text(words)
    return tmp_path


FACTS = {"data": "d", "synthetic": False, "complete": True, "notices": []}


def with_facts(tmp_path, **facts):
    return read_run(
        folder(tmp_path, config__json="{}", metrics__jsonl="", environment__json=json.dumps(FACTS | facts))
    )


def test_a_whole_folder(tmp_path):
    result = {"protocol": "P", "direction": "a to b", "R1": 50.0}
    rows = [{"epoch": 0, "test": [result]}, {"epoch": 1}]
    record = read_run(
        folder(
            tmp_path / "trial_3",
            config__json='{"method": "sdcl", "dataset": "sysu", "eps": 0.5}',
            environment__json=json.dumps(FACTS | {"synthetic": True, "notices": ["x is synthetic"]}),
            metrics__jsonl="\n".join(map(json.dumps, rows)),
        )
    )
    assert record.name.endswith("/trial_3") and record.recipe == ("sdcl", "sysu") and record.missing == []
    assert record.notices == ["x is synthetic"] and record.synthetic is True and record.comparable is False
    assert record.results == [result] and "epoch 0" in record.results_from
    assert list(record.tested()) == [(0, result)]


def test_only_recorded_facts_make_data_real(tmp_path):
    """Neither sentences nor missing facts count."""
    assert with_facts(tmp_path).comparable is True
    assert with_facts(tmp_path, notices=["the folder /data/synthetic is incomplete"]).comparable is True
    for facts in (
        {"synthetic": True},
        {"complete": False},
        {"synthetic": None},
        {"complete": "yes"},
        {"synthetic": 0},
    ):
        assert with_facts(tmp_path, **facts).comparable is False


def test_a_folder_of_an_older_version(tmp_path):
    record = read_run(
        folder(tmp_path, environment__json='{"data": "d"}', log__txt="note: x is synthetic (v)\n")
    )
    assert (record.synthetic, record.complete, record.comparable) == (None, None, False)
    assert record.notices == [] and len(run_record.notices_of([record, record])) == 1  # pages warn of it


def test_test_json_wins_over_the_last_row(tmp_path):
    rows = '{"epoch": 0, "test": [{"protocol": "P", "R1": 1}]}'
    record = read_run(folder(tmp_path, metrics__jsonl=rows, test__json='[{"protocol": "Q", "R1": 2}]'))
    assert [r["protocol"] for r in record.results] == ["Q"] and "test.json" in record.results_from


def test_results_of_an_earlier_epoch_are_not_those_of_the_run(tmp_path):
    rows = "".join(f'{{"epoch": {e}, "test": [{{"protocol": "P", "R1": {e}}}]}}\n' for e in range(3))
    for epoch, left_out in ((2, False), (1, True)):
        tested = f'[{{"protocol": "P", "R1": 9, "epoch": {epoch}, "checkpoint": "last.pt"}}]'
        record = read_run(folder(tmp_path, metrics__jsonl=rows, test__json=tested))
        assert record.results[0]["R1"] == (2 if left_out else 9)
        assert any("is of epoch 1 and the run has come to epoch 2" in m for m in record.missing) is left_out


def test_damage_is_listed_and_the_rest_is_read(tmp_path):
    lines = '{"epoch": 0, "loss": 1}\n[1]\n{"epoch": "x"}\n{"epo'
    record = read_run(folder(tmp_path, metrics__jsonl=lines, config__json="{", test__json="nothing"))
    assert [r["epoch"] for r in record.rows] == [0]
    missing = " ".join(record.missing)
    for part in (
        "line 2",
        "line 3",
        "line 4",
        "config.json is damaged",
        "environment.json cannot be read",
        "test.json",
    ):
        assert part in missing
    assert record.comparable is False


def test_a_folder_of_something_else(tmp_path):
    with pytest.raises(UserError):
        read_run(tmp_path)


def test_trials_are_sorted_by_number(tmp_path):
    for name in ("trial_10", "trial_2", "trial_x", "trial_3"):
        folder(tmp_path / name, **({} if name == "trial_3" else {"config__json": "{}"}))
    (tmp_path / "test.json").write_text("[]")  # means of the trials, which make it no run
    assert [f.name for f in trial_folders(tmp_path)] == ["trial_2", "trial_10"]
    (tmp_path / "config.json").write_text("{}")
    assert trial_folders(tmp_path) == []


def test_a_model_that_was_tested_here_but_trained_elsewhere(tmp_path):
    record = read_run(folder(tmp_path / "new", test__json='[{"protocol": "Q", "R1": 2}]'))
    assert record.results and "config.json cannot be read" in " ".join(record.missing)


def test_values_of_other_kinds():
    assert (
        run_record.as_number(2) == 2
        and math.isnan(run_record.as_number("2"))
        and math.isnan(run_record.as_number(True))
    )
    assert run_record.stage_name({"stage": ["cameras", "joint"]}) == "cameras + joint"
    assert run_record.changed_settings({"eps": 0.6, "mean": [], "k1": 15, "new": 1}) == {
        "k1": (15, 30),
        "new": (1, "unknown to this version"),
    }
