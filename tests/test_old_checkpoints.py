"""A checkpoint in the form of version 0.1 continues bit for bit, is tested and exported."""

import json
import os

import pytest
import torch
from helpers.small_runs import ROOT, rows, small, state

from sdcl import TrainedModel
from sdcl import test as test_program
from sdcl import train as train_program
from sdcl.cli import export
from sdcl.config import flat, resolve
from sdcl.models.factory import build_model
from sdcl.runtime import checkpoint

# Keys, settings and tensors of a checkpoint that version 0.1 wrote (SDCL on vit_mini); the values of the
# tensors are left out.
OLD = json.loads((ROOT / "tests/fixtures/checkpoint_0_1.json").read_text())


def write_as_version_0_1(path):
    """Give a checkpoint of today the keys, settings and names of version 0.1."""
    now = checkpoint.load(path)
    structure = [[n, str(v.dtype).removeprefix("torch."), list(v.shape)] for n, v in now["model"].items()]
    assert structure == OLD["model"]  # names, types and shapes of the tensors are the same
    settings = {name: now["settings"].get(name, value) for name, value in OLD["settings"].items()}
    settings["test_batch_size"] = now["settings"]["embed_batch_size"]
    checkpoint.save(path.parent, path.name, {key: now[key] for key in OLD["keys"]} | {"settings": settings})


def without_seconds(folder):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows(folder)]


@pytest.fixture(scope="module")
def old_run(data, tmp_path_factory):
    """A run of two epochs, and a copy of its first epoch as version 0.1 would have left it, continued by
    the present code.
    """
    place = tmp_path_factory.mktemp("old")
    common = ["-d", "sysu", "--data-dir", str(data["sysu"]), "--cache-dir", str(place / "cache"), *small()]
    whole, old = place / "whole", place / "old"
    assert train_program.main([*common, "--logs-dir", str(whole), "--epochs", "2"]) == 0
    assert train_program.main([*common, "--logs-dir", str(old), "--epochs", "1"]) == 0
    write_as_version_0_1(old / checkpoint.LAST)
    os.remove(old / "config.json")
    assert train_program.main([*common, "--logs-dir", str(old), "--epochs", "2"]) == 0
    return common, whole, old


@pytest.mark.long
def test_it_continues_bit_for_bit(old_run):
    _, whole, old = old_run
    for name, value in state(old).items():
        assert torch.equal(value, state(whole)[name]), name
    assert without_seconds(old) == without_seconds(whole)


@pytest.mark.long
def test_it_is_opened_tested_and_exported(old_run, tmp_path, capsys):
    common, whole, _ = old_run
    copy = tmp_path / "old" / checkpoint.LAST
    copy.parent.mkdir()
    copy.write_bytes((whole / checkpoint.LAST).read_bytes())
    write_as_version_0_1(copy)
    trained = TrainedModel.open(copy)
    assert trained.epoch == 1 and trained.settings.method.cra_k == 3
    where = ["--logs-dir", str(tmp_path / "old"), *common[: common.index("-a")]]
    assert test_program.main(where) == 0, capsys.readouterr().err
    assert json.loads((tmp_path / "old/test.json").read_text())
    arguments = ["--weights", str(copy), "--out", str(tmp_path / "export"), "--format", "safetensors"]
    assert export.main(arguments) == 0, capsys.readouterr().err
    (exported,) = (tmp_path / "export").glob("*.safetensors")
    assert TrainedModel.open(exported).fingerprint == trained.fingerprint


def test_the_model_has_the_tensors_of_version_0_1():
    model = build_model("vit_mini", height=32, width=16)
    assert [
        [n, str(v.dtype).removeprefix("torch."), list(v.shape)] for n, v in model.state_dict().items()
    ] == OLD["model"]


def test_settings_of_version_0_1_name_what_this_version_has():
    new = set(flat(resolve({})[0])) - set(OLD["settings"])
    added = "embed_batch_size from_run jitter_views joint knn_lists knn_probes labels mean std translation"
    assert new == set(added.split())
