"""The export command on a tiny run: graphs that equal the model, tensors that come back, a card that tells."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.small_runs import SMALL
from safetensors import safe_open

from sdcl import train as train_program
from sdcl.cli import export
from sdcl.cli.embed import open_weights
from sdcl.config.settings import flat, from_flat
from sdcl.models.factory import build_model
from sdcl.models.weight_formats import load_weights

pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    place = tmp_path_factory.mktemp("export")
    said = ["-d", "sysu", "--data-dir", str(data["sysu"]), "--logs-dir", str(place / "run"), "--cache-dir", str(place / "cache"), *SMALL]
    assert train_program.main([*said, "--epochs", "1", "--draws", "1"]) == 0
    return place / "run"


def test_everything_of_a_run(run, tmp_path, capsys):
    import onnx
    import onnxruntime

    out = tmp_path / "out"
    assert export.main(["--weights", str(run), "--out", str(out)]) == 0, capsys.readouterr().err
    assert capsys.readouterr().out.count("largest absolute difference") == 2
    weights = open_weights(run)
    images = torch.randn(4, 3, 32, 16)
    for modality in ("visible", "infrared"):
        path = out / f"{modality}_deep_shallow.onnx"
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        assert [i.name for i in session.get_inputs()] == ["images"] and session.get_inputs()[0].shape == ["batch", 3, 32, 16]
        with torch.no_grad():
            ours = weights.model({modality: images})[modality]
        ours = torch.cat([ours["deep"], ours["shallow"]], 1).numpy()
        np.testing.assert_allclose(session.run(None, {"images": images.numpy()})[0], ours, atol=1e-4)
        said = {p.key: p.value for p in onnx.load(path).metadata_props}
        assert json.loads(said["sdcl"])["weights"] == weights.fingerprint
    assert all(one["max_abs_difference"] < 1e-4 for one in json.loads((out / "parity.json").read_text()))
    card = (out / "MODEL_CARD.md").read_text()
    for words in ("synthetic", "`sysu`", "SYSU-MM01 all-search single-shot", "vit_mini", "--eps", "Licence", weights.fingerprint):
        assert words in card, words
    assert str(run) not in card


def test_tensors_come_back(run, tmp_path, capsys):
    """--pretrained reads the exported file whole, and --weights takes it for the run itself."""
    assert export.main(["--weights", str(run / "last.pt"), "--out", str(tmp_path), "--format", "safetensors"]) == 0
    weights, file = open_weights(run), tmp_path / "model.safetensors"
    model = build_model("vit_mini", height=32, width=16)
    report = load_weights(model, file, min_share=1.0)
    assert not report.missing and not report.ignored and not report.mismatched
    for name, value in weights.model.state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name
    assert open_weights(file).fingerprint == weights.fingerprint
    assert export.data_notes(open_weights(file)) == export.data_notes(weights) and "synthetic" in export.data_notes(weights)[0]
    moved = from_flat(flat(weights.settings) | {"data_dir": str(tmp_path / "gone")})
    assert "synthetic" in export.data_notes(replace(weights, settings=moved))[0]  # from the run's log
    with safe_open(file, "pt") as opened:
        about = json.loads(opened.metadata()["sdcl"])
    assert about["settings"]["eps"] == 0.5 and about["data"] == weights.state["data"] and about["rows"][0]["test"]


def test_bad_input_is_refused(run, tmp_path, capsys):
    assert export.main(["--weights", str(tmp_path), "--out", str(tmp_path / "x")]) == 2
    assert "no checkpoint in" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert export.main(["--weights", str(run), "--out", str(tmp_path / "file"), "--format", "safetensors"]) == 2
    assert "error" in capsys.readouterr().err
