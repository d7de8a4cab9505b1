"""The export command: graphs that equal the network, tensors that load again, a card with the facts."""

import json

import numpy as np
import pytest
import torch
from helpers.checkpoints import run_folder

from sdcl.cli import export
from sdcl.data.normalization import IMAGENET, from_metadata
from sdcl.inference.trained_model import TrainedModel
from sdcl.models.factory import build_model
from sdcl.models.weight_formats import load_weights

pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return run_folder(tmp_path_factory.mktemp("export") / "run")


def card_of(run, out):
    assert export.main(["--weights", str(run), "--out", str(out), "--format", "safetensors"]) == 0
    return (out / "MODEL_CARD.md").read_text()


@pytest.mark.long
def test_everything_of_a_run(run, tmp_path, capsys):
    import onnx
    import onnxruntime

    out = tmp_path / "out"
    assert export.main(["--weights", str(run), "--out", str(out)]) == 0, capsys.readouterr().err
    assert capsys.readouterr().out.count("largest absolute difference") == 2
    trained = TrainedModel.open(run)
    for modality in ("visible", "infrared"):
        path = out / f"{modality}_deep_shallow.onnx"
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        assert [i.name for i in session.get_inputs()] == ["images"]
        assert session.get_inputs()[0].shape == ["batch", 3, 32, 16]
        for batch in (1, 2, 5, 8):  # one graph for every size of batch
            images = torch.randn(batch, 3, 32, 16)
            with torch.no_grad():
                expected = trained.model({modality: images})[modality]
            expected = torch.cat([expected["deep"], expected["shallow"]], 1).numpy()
            np.testing.assert_allclose(session.run(None, {"images": images.numpy()})[0], expected, atol=1e-4)
        metadata = {p.key: p.value for p in onnx.load(path).metadata_props}
        assert json.loads(metadata["sdcl"])["weights"] == trained.fingerprint
        assert from_metadata(metadata) == trained.normalization == IMAGENET
    assert all(p["max_abs_difference"] < 1e-4 for p in json.loads((out / "parity.json").read_text()))
    card = (out / "MODEL_CARD.md").read_text()
    facts = (
        "synthetic",
        "rendered people",
        "`sysu`",
        "SYSU-MM01 all-search single-shot",
        "12.35",
        "vit_mini",
        "--eps",
    )
    for fact in (*facts, "Licence", trained.fingerprint, "visible_deep_shallow.onnx"):
        assert fact in card, fact
    assert str(run) not in card


def test_tensors_come_back(run, tmp_path):
    """--pretrained reads the exported file whole."""
    assert (
        export.main(["--weights", str(run / "last.pt"), "--out", str(tmp_path), "--format", "safetensors"])
        == 0
    )
    model = build_model("vit_mini", height=32, width=16)
    report = load_weights(model, tmp_path / "model.safetensors", min_share=1.0)
    assert not report.missing and not report.ignored and not report.mismatched
    for name, value in TrainedModel.open(run).model.state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name


def test_the_card_says_what_is_not_known(tmp_path):
    real = run_folder(tmp_path / "real", environment={"synthetic": False, "complete": True, "notices": []})
    assert "**" not in card_of(real, tmp_path / "a")
    incomplete = run_folder(
        tmp_path / "part", environment={"synthetic": False, "complete": False, "notices": []}
    )
    assert "not complete" in card_of(incomplete, tmp_path / "b")
    old = run_folder(tmp_path / "old", environment={})
    assert card_of(old, tmp_path / "c").count("is not recorded whether") == 2


def test_bad_input_is_refused(run, tmp_path, capsys):
    assert export.main(["--weights", str(tmp_path), "--out", str(tmp_path / "x")]) == 2
    assert "no checkpoint in" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert (
        export.main(["--weights", str(run), "--out", str(tmp_path / "file"), "--format", "safetensors"]) == 2
    )
    assert "error" in capsys.readouterr().err


def test_a_branch_that_is_not_there_is_refused(tmp_path, capsys):
    deep = run_folder(tmp_path / "deep", 0, "--no-shallow")
    assert export.main(["--weights", str(deep), "--out", str(tmp_path / "out"), "--branch", "shallow"]) == 2
    assert "--branch shallow" in capsys.readouterr().err
