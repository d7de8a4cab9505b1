"""Checkpoint files: the previous one is kept, damage and foreign files are named.

Random damage: tests/fuzz/test_checkpoint.py.
"""

import os

import pytest
import torch

from sdcl.runtime import checkpoint
from sdcl.runtime.errors import CheckpointError, OutputError


def state(epoch):
    return {"model": {"w": torch.full((2,), float(epoch))}, "settings": {}, "epoch": epoch}


def test_the_previous_one_is_kept(tmp_path):
    assert checkpoint.latest(tmp_path) == (None, "")
    for epoch in range(3):
        checkpoint.save(tmp_path, checkpoint.LAST, state(epoch))
    assert [checkpoint.load(tmp_path / n)["epoch"] for n in (checkpoint.LAST, checkpoint.PREVIOUS)] == [2, 1]
    assert checkpoint.keep_as(tmp_path, "stage_x.pt", 2) and not checkpoint.keep_as(tmp_path, "stage_y.pt", 7)
    assert (tmp_path / "stage_x.pt").read_bytes() == (tmp_path / checkpoint.LAST).read_bytes()
    (tmp_path / checkpoint.LAST).write_bytes(b"cut")
    newest, note = checkpoint.latest(tmp_path)
    assert newest["epoch"] == 1 and "going back to" in note
    assert sorted(p.name for p in tmp_path.iterdir()) == ["last.pt", "previous.pt", "stage_x.pt"]


@pytest.mark.parametrize("content", [b"", b"weights", b"weights" + checkpoint.MARK + b"0" * 64])
def test_files_that_are_no_checkpoint_are_named(tmp_path, content):
    path = tmp_path / "last.pt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"last\.pt"):
        checkpoint.read(path)
    with pytest.raises(CheckpointError, match=r"no checkpoint at .*absent\.pt"):
        checkpoint.load(tmp_path / "absent.pt")


def test_another_file_of_ours_is_no_checkpoint_of_a_run(tmp_path):
    checkpoint.save(tmp_path, "other.pt", {"model": {}})
    assert checkpoint.read(tmp_path / "other.pt") == {"model": {}}
    with pytest.raises(CheckpointError, match="--pretrained"):
        checkpoint.load(tmp_path / "other.pt")


def test_a_state_within_another_epoch_does_not_count(tmp_path):
    checkpoint.save(tmp_path, checkpoint.UNFINISHED, state(4) | {"journal": {}})
    assert checkpoint.unfinished(tmp_path, 4)[0]["epoch"] == 4
    assert checkpoint.unfinished(tmp_path, 5) == (None, "")
    checkpoint.forget_unfinished(tmp_path)
    checkpoint.forget_unfinished(tmp_path)
    assert checkpoint.unfinished(tmp_path, 4) == (None, "")


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="--logs-dir"):
        checkpoint.save(tmp_path / "file", checkpoint.LAST, state(0))


@pytest.mark.parametrize("links", [True, False])
def test_the_last_one_is_there_at_every_moment(tmp_path, monkeypatch, links):
    """A kill may come between any two renames; without hard links it is copied."""
    seen, replace = [], os.replace

    def looking(source, target):
        if (tmp_path / checkpoint.PREVIOUS).exists():
            seen.append(checkpoint.load(tmp_path / checkpoint.LAST)["epoch"])
        replace(source, target)

    def none(*_):
        raise OSError("no hard links here")

    monkeypatch.setattr(os, "replace", looking)
    if not links:
        monkeypatch.setattr(os, "link", none)
    for epoch in range(3):
        checkpoint.save(tmp_path, checkpoint.LAST, state(epoch))
    assert seen == [0, 1, 1]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["last.pt", "previous.pt"]


def test_a_kill_between_the_two_renames_is_made_good_by_the_next_save(tmp_path):
    for epoch in range(2):
        checkpoint.save(tmp_path, checkpoint.LAST, state(epoch))
    (tmp_path / checkpoint.PREVIOUS).unlink()
    os.link(tmp_path / checkpoint.LAST, tmp_path / checkpoint.PREVIOUS)
    checkpoint.save(tmp_path, checkpoint.LAST, state(2))
    assert [checkpoint.load(tmp_path / n)["epoch"] for n in (checkpoint.LAST, checkpoint.PREVIOUS)] == [2, 1]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["last.pt", "previous.pt"]


@pytest.mark.parametrize("damaged", [True, False])
def test_what_cannot_be_read_does_not_become_the_previous_one(tmp_path, damaged):
    for epoch in range(2):
        checkpoint.save(tmp_path, checkpoint.LAST, state(epoch))
    checkpoint.put_back(tmp_path)  # nothing to do
    last = tmp_path / checkpoint.LAST
    last.write_bytes(b"cut") if damaged else last.unlink()
    checkpoint.put_back(tmp_path)
    assert checkpoint.load(last)["epoch"] == 0
    assert (tmp_path / checkpoint.DAMAGED).exists() is damaged  # what could not be read is kept
    checkpoint.save(tmp_path, checkpoint.LAST, state(1))
    assert [checkpoint.load(tmp_path / n)["epoch"] for n in (checkpoint.LAST, checkpoint.PREVIOUS)] == [1, 0]


def test_a_run_that_is_replaced_stays_a_run(tmp_path):
    assert checkpoint.set_aside(tmp_path) is None
    for number in (1, 2):
        (tmp_path / "log.txt").write_text("")
        for name in ("metrics.jsonl", "config.json", "test.json"):
            (tmp_path / name).write_text(str(number))
        for name in (checkpoint.LAST, "stage_x.pt", checkpoint.UNFINISHED):
            checkpoint.save(tmp_path, name, state(number))
        aside = checkpoint.set_aside(tmp_path)
        assert aside == tmp_path / f"replaced_{number}" and checkpoint.latest(aside)[0]["epoch"] == number
        assert (aside / "test.json").read_text() == str(number) and (aside / "stage_x.pt").exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["log.txt", "replaced_1", "replaced_2"]
