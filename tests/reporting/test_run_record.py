"""Run folders as they are found: whole, cut short, foreign."""

import json
import math

import pytest

from sdcl.reporting import run_record as record


def folder(tmp_path, **files):
    tmp_path.mkdir(exist_ok=True)
    for name, words in files.items():
        (tmp_path / name.replace("__", ".")).write_text(words)
    return tmp_path


def test_a_whole_folder(tmp_path):
    result = {"protocol": "P", "direction": "a to b", "R1": 50.0}
    rows = [{"epoch": 0, "test": [result]}, {"epoch": 1}]
    found = record.read(
        folder(
            tmp_path / "trial_3",
            config__json='{"method": "sdcl", "dataset": "sysu", "eps": 0.5}',
            environment__json="{}",
            metrics__jsonl="\n".join(map(json.dumps, rows)),
            log__txt="note: x is synthetic (v)\nnote: x is synthetic (v)\nother\n",
        )
    )
    assert found.name.endswith("/trial_3") and found.recipe == ("sdcl", "sysu") and found.missing == []
    assert found.notices == ["x is synthetic (v)"] and not found.real_data
    assert found.results == [result] and "epoch 0" in found.results_from
    assert list(found.tested()) == [(0, result)]


def test_test_json_wins_over_the_last_row(tmp_path):
    rows = '{"epoch": 0, "test": [{"protocol": "P", "R1": 1}]}'
    found = record.read(folder(tmp_path, metrics__jsonl=rows, test__json='[{"protocol": "Q", "R1": 2}]'))
    assert [r["protocol"] for r in found.results] == ["Q"] and "test.json" in found.results_from


def test_damage_is_said_and_the_rest_is_read(tmp_path):
    lines = '{"epoch": 0, "loss": 1}\n[1]\n{"epoch": "x"}\n{"epo'
    found = record.read(folder(tmp_path, metrics__jsonl=lines, config__json="{", test__json="nothing"))
    assert [r["epoch"] for r in found.rows] == [0]
    said = " ".join(found.missing)
    for part in ("line 2", "line 3", "line 4", "config.json is damaged", "environment.json cannot be read", "log.txt", "test.json"):
        assert part in said
    assert not found.real_data  # no log vouches for the data


def test_a_folder_of_something_else(tmp_path):
    with pytest.raises(ValueError, match="no run folder"):
        record.read(tmp_path)


def test_trials_are_found_by_their_number(tmp_path):
    for name in ("trial_10", "trial_2", "trial_x", "trial_3"):
        folder(tmp_path / name, **({} if name == "trial_3" else {"log__txt": "x"}))
    (tmp_path / "test.json").write_text("[]")  # means of the trials, which make it no run
    assert [f.name for f in record.trials_in(tmp_path)] == ["trial_2", "trial_10"]
    (tmp_path / "config.json").write_text("{}")
    assert record.trials_in(tmp_path) == []


def test_a_model_that_was_tested_here_but_trained_elsewhere(tmp_path):
    found = record.read(folder(tmp_path / "new", test__json='[{"protocol": "Q", "R1": 2}]'))
    assert found.results and "config.json cannot be read" in " ".join(found.missing)


def test_values_of_other_kinds():
    assert record.number(2) == 2 and math.isnan(record.number("2")) and math.isnan(record.number(True))
    assert record.stage_name({"stage": ["cameras", "joint"]}) == "cameras + joint"
    assert record.changed_settings({"eps": 0.6, "k1": 15, "new": 1}) == {"k1": (15, 30), "new": (1, "unknown to this version")}
