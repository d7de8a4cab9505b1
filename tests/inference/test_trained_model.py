"""TrainedModel: opened from every kind of file,
equal features from every kind of image, refused otherwise.
"""

import json

import numpy as np
import pytest
import torch
from helpers.checkpoints import run_folder
from helpers.raw_trees import picture
from PIL import Image

from sdcl.data.image_cache import open_cache
from sdcl.inference.export import export
from sdcl.inference.extract import extract_features, joined
from sdcl.inference.trained_model import Provenance, TrainedModel
from sdcl.models.factory import build_model
from sdcl.runtime import checkpoint
from sdcl.runtime.errors import CheckpointError, DataError, SettingError, WeightError


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return run_folder(tmp_path_factory.mktemp("trained") / "run")


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    root = tmp_path_factory.mktemp("images")
    for person in range(5):
        picture(root / f"{person}.png", person, (0,))
    return [str(root / f"{person}.png") for person in range(5)]


def test_folder_checkpoint_and_export_are_the_same_model(run, tmp_path):
    export(TrainedModel.open(run), tmp_path, formats=("safetensors",))
    opened = [TrainedModel.open(path) for path in (run, str(run / "last.pt"), tmp_path / "model.safetensors")]
    assert len({t.fingerprint for t in opened}) == 1 and len({t.data for t in opened}) == 1
    assert all(t.provenance == Provenance(True, True, ("rendered people",)) for t in opened)
    assert all(t.rows[-1]["test"] for t in opened) and not any(t.model.training for t in opened)
    assert opened[2].settings.cluster.eps == 0.5


def test_provenance_is_never_guessed(tmp_path):
    old = run_folder(tmp_path / "old", environment={"python": "3.11", "data": "x"})
    assert TrainedModel.open(old).provenance == Provenance(None, None, ())
    (old / "environment.json").write_text("{damaged")
    (old / "log.txt").write_text("note: these images are synthetic\n")
    assert TrainedModel.open(old).provenance == Provenance()


def test_an_unreadable_last_checkpoint_is_noted(tmp_path):
    run = run_folder(tmp_path / "run")
    run_folder(run, 1)
    (run / "last.pt").write_bytes(b"damaged")
    trained = TrainedModel.open(run)
    assert trained.note and trained.fingerprint == TrainedModel.open(run / "previous.pt").fingerprint


def test_what_is_no_model_is_refused(run, tmp_path):
    with pytest.raises(CheckpointError):
        TrainedModel.open(tmp_path)
    with pytest.raises(CheckpointError):
        TrainedModel.open(tmp_path / "absent.pt")
    (tmp_path / "x.safetensors").write_bytes(b"nothing")
    with pytest.raises(WeightError):
        TrainedModel.open(tmp_path / "x.safetensors")
    state = checkpoint.load(run / "last.pt")
    other = build_model("vit_mini", height=64, width=16).state_dict()
    for change, error in (
        ({"model": other}, WeightError),
        ({"settings": state["settings"] | {"height": "tall"}}, CheckpointError),
        ({"settings": state["settings"] | {"arch": "vit_huge"}}, SettingError),
    ):
        path = checkpoint.save(tmp_path, "changed.pt", state | change)
        with pytest.raises(error):
            TrainedModel.open(path)


def test_settings_of_other_versions_are_ignored(run, tmp_path):
    state = checkpoint.load(run / "last.pt")
    path = checkpoint.save(tmp_path, "old.pt", state | {"settings": state["settings"] | {"gone": 1}})
    assert TrainedModel.open(path).settings == TrainedModel.open(run).settings


def test_every_kind_of_image_gives_the_test_feature(run, paths, tmp_path):
    trained = TrainedModel.open(run).to("cpu")
    cache = open_cache(paths, 32, 16, "lanczos", tmp_path, trained.device, workers=1, title="x")
    features = extract_features(trained.model, cache, "infrared", batch_size=64, bf16=False, title="x")
    expected = joined(features).numpy()
    pixels = np.stack([np.asarray(Image.open(path).convert("RGB")) for path in paths])
    resized = cache.take(np.arange(5))
    for images in (
        paths,
        [Image.open(path) for path in paths],
        pixels,
        list(pixels),
        torch.from_numpy(pixels),
        resized,
        resized.permute(0, 3, 1, 2) / 255,
    ):
        rows = trained.embed(images, "infrared", batch_size=2)
        assert rows.dtype == np.float32
        np.testing.assert_allclose(rows, expected, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    assert trained.embed([], "visible").shape == (0, 384)
    again = trained.features(cache, "infrared")
    assert all(torch.allclose(again[b], features[b], atol=1e-5) for b in trained.model.branches)


def test_images_of_another_form_are_refused(run, paths):
    trained = TrainedModel.open(run)
    for images in (paths[0], np.zeros((2, 32, 16), np.uint8), torch.zeros(2, 3, 32, 17), [3]):
        with pytest.raises(ValueError):
            trained.embed(images, "visible")
    with pytest.raises(ValueError, match="modality"):
        trained.embed(paths, "thermal")
    with pytest.raises(DataError, match=r"absent\.png"):
        trained.embed(["absent.png"], "visible")


def test_features_that_are_not_finite_are_refused(run, paths):
    trained = TrainedModel.open(run)
    with torch.no_grad():
        trained.model.cls_token.fill_(float("nan"))
    with pytest.raises(WeightError, match="not finite"):
        trained.embed(paths, "visible")


def test_metadata_hold_no_path_of_this_machine(run, tmp_path):
    from safetensors import safe_open

    export(TrainedModel.open(run), tmp_path, formats=("safetensors",))
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        facts = json.loads(file.metadata()["sdcl"])
    assert "logs_dir" not in facts["settings"] and facts["settings"]["eps"] == 0.5
