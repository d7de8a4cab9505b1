"""The starting weight: made by the command, readable by the model, and the shipped one is what the README says."""

import json

import pytest
import torch
from safetensors import safe_open

from sdcl.models.dual_branch import build_model
from sdcl.models.start import ASSETS
from sdcl.models.weights import load_weights
from sdcl.pretrain import main


def test_the_command_writes_a_weight_that_loads(tmp_path):
    out = tmp_path / "w.safetensors"
    flags = "--height 32 --width 16 --people 4 --images-per-person 3 --cameras 2 --iters 2 --batch-size 6 --jobs 1".split()
    assert main(["--out", str(out), *flags]) == 0
    assert load_weights(build_model("vit_mini", height=32, width=16), out).share == 1.0
    with safe_open(out, "pt") as file:
        note = json.loads(file.metadata()["sdcl.pretrain"])
    assert note["objective"] == "identity" and note["people"] == 4 and set(note["probe_rank1"]) == {
        "visible->visible", "infrared->infrared", "infrared->visible",
    }  # fmt: skip


def test_no_pretraining_of_a_resnet(tmp_path, capsys):
    assert main(["--out", str(tmp_path / "w"), "--arch", "resnet50", "--people", "2", "--images-per-person", "1", "--jobs", "1"]) == 2
    assert "--arch resnet50" in capsys.readouterr().err


def test_shipped_weight():
    path = ASSETS / "vit_mini.safetensors"
    assert path.stat().st_size <= 8 * 2**20
    model = build_model("vit_mini", height=96, width=48)
    assert load_weights(model, path).share == 1.0
    assert all(torch.isfinite(v).all() for v in model.state_dict().values())
    with safe_open(path, "pt") as file:
        note = json.loads(file.metadata()["sdcl.pretrain"])
    assert note["objective"] == "identity" and note["seconds"] == 1189
    assert note["probe_rank1"]["visible->visible"] == pytest.approx(0.83, abs=0.005)
