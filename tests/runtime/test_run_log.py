"""Files of a run: rows that are written, dropped on resume, and shown in a table; nothing from the other
processes.
"""

import json

import pytest
import torch

from sdcl.runtime.errors import OutputError
from sdcl.runtime.run_log import RunLog, environment


def row(epoch, **labels):
    seconds = dict.fromkeys(("embed", "cluster", "train", "test"), 1.0)
    return {
        "epoch": epoch,
        "stage": "contrast",
        "lr": 1e-3,
        "loss": 2.5,
        "labels": labels,
        "seconds": seconds,
    }


def test_rows_survive_and_later_ones_are_dropped_on_resume(tmp_path):
    log = RunLog(tmp_path / "run", main=True)
    for epoch in range(3):
        log.epoch(row(epoch))
    rows = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert rows == log.rows == [row(e) for e in range(3)]
    again = RunLog(tmp_path / "run", main=True)
    again.restore(rows[:1])
    assert len((tmp_path / "run/metrics.jsonl").read_text().splitlines()) == 1
    again.epoch(row(1))
    assert [r["epoch"] for r in again.rows] == [0, 1] and len(rows) == 3
    *_, header, line = (tmp_path / "run/log.txt").read_text().splitlines()  # the table begins anew
    assert "clusters v/i" in header and line.split()[0] == "1"


def test_the_table(tmp_path, capsys):
    log = RunLog(tmp_path, main=True)
    labels = {m: {"clusters": n, "outliers": 3} for n, m in enumerate(("visible", "infrared"))}
    log.epoch(row(0, **labels, visible_associated={"clusters": 8}) | {"test": [{"R1": 50.0, "mAP": 40.125}]})
    log.epoch(row(1))  # a method that shows no labels
    header, first, second = (tmp_path / "log.txt").read_text().splitlines()
    assert (
        "clusters v/i" in header and "0/1" in first and "3/3" in first and "50.00" in first and " 8 " in first
    )
    assert "-/-" in second and "1/1/1/1" in second
    assert capsys.readouterr().out.count("contrast") == 2


def test_other_processes_write_nothing(tmp_path):
    log = RunLog(tmp_path / "run", main=False)
    log.line("x")
    log.write_json("config.json", {})
    log.epoch(row(0))
    assert not (tmp_path / "run").exists() and len(log.rows) == 1


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="--logs-dir"):
        RunLog(tmp_path / "file/run", main=True)


def test_the_commit_is_unknown_without_git(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    found = environment(torch.device("cpu"), 1, "abc")
    assert found["commit"] == "not a git checkout" and found["torch"] == torch.__version__
