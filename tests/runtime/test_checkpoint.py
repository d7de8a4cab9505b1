"""Checkpoint files: the previous one is kept, damage and foreign files are named.

Random damage: tests/fuzz/test_checkpoint.py.
"""

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
    checkpoint.keep_as(tmp_path, "stage_x.pt")
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
