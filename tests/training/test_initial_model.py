"""--from-run: what HIL takes from an SDCL run, and which runs it refuses."""

import shutil

import pytest
import torch
from helpers.small_runs import state

from sdcl import train as train_program
from sdcl.cli import doctor
from sdcl.config import flat, resolve
from sdcl.data.normalization import HALF, IMAGENET, KEY
from sdcl.inference.trained_model import TrainedModel
from sdcl.models.pretrained import model_of
from sdcl.runtime import checkpoint
from sdcl.runtime.errors import CheckpointError
from sdcl.training.initial_model import initial_model

NETWORK = {"arch": "vit_mini", "height": 32, "width": 16}


def write(
    folder,
    stage="contrast",
    epoch=29,
    name=checkpoint.LAST,
    seed=0,
    data="abc",
    normalization=IMAGENET,
    **given,
):
    """A checkpoint of a run, SDCL's unless `given` says otherwise. Returns its weights."""
    settings, _ = resolve(NETWORK | given)
    torch.manual_seed(seed)
    weights = model_of(settings).state_dict()
    folder.mkdir(parents=True, exist_ok=True)
    rows = [{"epoch": epoch, "stage": stage}]
    saved = {"model": weights, "settings": flat(settings), "epoch": epoch, "rows": rows, "data": data}
    saved[KEY] = normalization.plain()
    checkpoint.save(folder, name, saved)
    return weights


def start(folder, data="abc", **given):
    """The model that HIL starts from, and what the log says."""
    settings, _ = resolve(
        NETWORK | {"method": "hil", "from_run": str(folder), "logs_dir": f"{folder}_hil"} | given
    )
    return initial_model(settings, data)


def assert_same(model, weights):
    for name, value in model.state_dict().items():
        assert torch.equal(value, weights[name]), name


def test_the_end_of_the_first_stage_is_taken(tmp_path):
    first = write(tmp_path, name="stage_contrast.pt")
    write(tmp_path, "unified", 49, seed=1)
    model, line = start(tmp_path)
    assert_same(model, first)
    assert "stage_contrast.pt after epoch 29 of 50 (--from-run)" in line


def test_of_a_run_with_no_other_stage_the_last_checkpoint_is_taken(tmp_path):
    weights = write(tmp_path, epoch=12)
    model, line = start(tmp_path)
    assert_same(model, weights)
    assert "after epoch 12 of 50" in line


def test_a_data_set_with_trials_takes_the_same_trial(tmp_path):
    for trial in (1, 2):
        write(tmp_path / f"trial_{trial}", dataset="regdb", trial=trial, seed=trial)
    second = TrainedModel.open(tmp_path / "trial_2").model.state_dict()
    assert_same(start(tmp_path, dataset="regdb", trial=2)[0], second)
    assert_same(start(tmp_path / "trial_2", dataset="regdb", trial=2)[0], second)
    with pytest.raises(CheckpointError, match=r"--from-run .*trial_1.*\n  --trial: 1 there, 2 here"):
        start(tmp_path / "trial_1", dataset="regdb", trial=2)


@pytest.mark.parametrize(
    ("given", "here", "message"),
    [
        (
            {"method": "baseline", "shallow": False},
            {},
            "a run of --method baseline, and --method sdcl is needed",
        ),
        ({"arch": "vit_tiny"}, {}, "--arch: vit_tiny there, vit_mini here"),
        ({"shallow": False}, {}, "--shallow: False there, True here"),
        ({"height": 48}, {}, "--height: 48 there, 32 here"),
        ({"dataset": "llcm"}, {}, "--dataset: llcm there, sysu here"),
        ({}, {"mean": (0.5,) * 3, "std": (0.5,) * 3}, "(--mean and --std) here"),
        ({"labels": "visible"}, {}, "--labels: visible there, none here"),
        ({"data": "abd"}, {}, "training images: abd there, abc here"),
        ({"stage": "unified"}, {}, "no stage_contrast.pt, and epoch 29, its last, is of stage 'unified'"),
    ],
)
def test_a_run_that_cannot_be_the_start_is_refused(tmp_path, given, here, message):
    write(tmp_path, **given)
    with pytest.raises(CheckpointError) as error:
        start(tmp_path, **here)
    text = str(error.value)
    assert message in text and f"--from-run {tmp_path}" in text and "Name a run of --method sdcl" in text


def test_a_folder_that_is_not_there_or_holds_no_run_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"--from-run .*none is no folder; name a run folder"):
        start(tmp_path / "none")
    with pytest.raises(CheckpointError, match=r"--from-run .*no checkpoint in"):
        start(tmp_path)
    write(tmp_path, name="stage_contrast.pt")
    (tmp_path / "stage_contrast.pt").write_bytes(b"broken")
    with pytest.raises(CheckpointError, match=r"--from-run .*stage_contrast.pt is damaged"):
        start(tmp_path)


def test_a_continued_run_keeps_the_pixels_of_its_checkpoint(tmp_path):
    """Also where --mean and --std name them: the other run,
    which says them too, need not be there any more.
    """
    half = {"mean": HALF.mean, "std": HALF.std}
    write(tmp_path / "run_hil", method="hil", normalization=HALF, **half)
    for given in ({}, half):
        assert start(tmp_path / "run", **given)[0].normalization == HALF


@pytest.mark.long
def test_hil_after_sdcl_continues_and_is_tested_without_the_other_run(flags, tmp_path, capsys):
    """Real command lines: SDCL, HIL from it, the SDCL run removed, HIL continued; a doctor before."""
    sdcl, hil = tmp_path / "sdcl", tmp_path / "hil"
    assert train_program.main(flags("sysu", "--logs-dir", str(sdcl))) == 0
    line = flags("sysu", "--method", "hil", "--logs-dir", str(hil), "--from-run", str(sdcl))
    at = line.index("--pretrained")
    del line[at : at + 2]
    assert "--from-run" in line and doctor.main([*line, "--no-timing"]) in (0, 1)
    assert train_program.main([*line, "--epochs", "1"]) == 0, capsys.readouterr().err
    assert f"weights of {sdcl / 'stage_contrast.pt'} after epoch 0" in (hil / "log.txt").read_text()
    shutil.rmtree(sdcl)
    assert train_program.main(line) == 0, capsys.readouterr().err
    assert "continuing after epoch 0" in (hil / "log.txt").read_text()
    assert set(state(hil)) == set(TrainedModel.open(hil).model.state_dict())
    anew = [*line, "--logs-dir", str(tmp_path / "anew")]
    assert train_program.main(anew) == 2 and "is no folder" in capsys.readouterr().err
