"""A run that ended after an epoch continues to the same weights;
what is refused, and what a full disk costs.
"""

import os
import shutil

import pytest
import torch
from helpers.interrupting import stop_at
from helpers.small_runs import rows, state

from sdcl import train as train_program
from sdcl.config import flat, parse, resolve
from sdcl.runtime import checkpoint
from sdcl.runtime.errors import CheckpointError, SettingError
from sdcl.runtime.program import INTERRUPTED
from sdcl.training.initial_model import refuse_replaced_start
from sdcl.training.run_state import (
    continue_optimizer,
    newest_state,
    refuse_differences,
    save_epoch,
)
from sdcl.training.trainer import skipping_scaler


def saved(epoch, stage, **more):
    rows = [{"stage": "contrast"}] * epoch + [{"stage": stage}]
    return {"model": {}, "settings": {}, "epoch": epoch, "rows": rows, **more}


def test_the_end_of_a_stage_is_kept(tmp_path):
    for epoch, stage in enumerate(("contrast", "contrast", "unified")):
        save_epoch(tmp_path, saved(epoch, stage))
    assert checkpoint.load(tmp_path / "stage_contrast.pt")["epoch"] == 1
    assert newest_state(tmp_path)[0]["epoch"] == 2 and not (tmp_path / "stage_unified.pt").exists()


@pytest.mark.parametrize("what", ["missing", "damaged"])
def test_the_end_of_a_stage_is_kept_when_the_run_had_to_go_back(tmp_path, what):
    """The last checkpoint was lost as the second stage began; its first epoch is trained again."""
    for epoch, stage in enumerate(("contrast", "contrast", "unified")):
        save_epoch(tmp_path, saved(epoch, stage))
    last = tmp_path / checkpoint.LAST
    last.unlink() if what == "missing" else last.write_bytes(b"cut")
    assert newest_state(tmp_path)[0]["epoch"] == 1
    assert save_epoch(tmp_path, saved(2, "unified")) == ""
    assert checkpoint.load(tmp_path / "stage_contrast.pt")["epoch"] == 1
    assert newest_state(tmp_path)[0]["epoch"] == 2
    for name in (checkpoint.LAST, checkpoint.PREVIOUS):
        (tmp_path / name).unlink()
    assert "stage_unified.pt is not written" in save_epoch(
        tmp_path, saved(3, "other") | {"rows": [{"stage": "unified"}, {"stage": "other"}]}
    )


def test_a_state_within_an_epoch_counts_only_for_the_next_epoch(tmp_path):
    assert newest_state(tmp_path) == (None, [])
    checkpoint.save(tmp_path, checkpoint.UNFINISHED, saved(0, "contrast", journal={}))
    assert "journal" in newest_state(tmp_path)[0]
    save_epoch(tmp_path, saved(0, "contrast"))
    assert not (tmp_path / checkpoint.UNFINISHED).exists()
    checkpoint.save(
        tmp_path, checkpoint.UNFINISHED, saved(0, "contrast", journal={})
    )  # copied back from elsewhere
    assert "journal" not in newest_state(tmp_path)[0]


def test_only_what_changes_results_is_refused():
    settings, _ = resolve({"method": "baseline"})
    state = {"settings": flat(settings), "data": "same", "epoch": 3}
    assert (
        refuse_differences(state, resolve({"method": "baseline", "epochs": 7, "device": "cpu"})[0], "same")
        == ""
    )
    with pytest.raises(CheckpointError, match=r"epoch 3.*\n  --eps: 0.6 then, 0.4 now\n.*--resume-anyway"):
        refuse_differences(state, resolve({"method": "baseline", "eps": 0.4})[0], "same")
    with pytest.raises(CheckpointError, match="training images: same then, other now"):
        refuse_differences(state, settings, "other")
    earlier = {
        "settings": {n: v for n, v in state["settings"].items() if n != "from_run"},
        "data": "same",
        "epoch": 3,
    }
    assert refuse_differences(earlier, settings, "same") == ""
    anyway, _ = resolve({"method": "baseline", "eps": 0.4, "resume_anyway": True})
    assert refuse_differences(state, anyway, "other").count("\n") == 1


def test_of_another_method_only_what_both_have_is_compared():
    adca = {"settings": flat(resolve({"method": "adca"})[0]), "data": "same", "epoch": 3}
    with pytest.raises(CheckpointError, match="--method: 'adca' then, 'sdcl' now") as error:
        refuse_differences(adca, resolve({"method": "sdcl"})[0], "same")
    assert "--eps" not in str(error.value) and "--cra-k" not in str(error.value)  # equal; not of ADCA
    assert "--arch: 'resnet50' then, 'vit_base' now" in str(error.value)


def test_a_setting_that_is_no_more_is_said(tmp_path):
    save_epoch(tmp_path, saved(0, "contrast") | {"settings": {"method": "adca", "tau": 0.9, "eps": 0.5}})
    (note,) = newest_state(tmp_path)[1]
    assert "tau = 0.9, a setting that this version does not have" in note


def test_a_run_of_a_method_that_is_not_registered(tmp_path):
    save_epoch(tmp_path, saved(0, "contrast") | {"settings": {"method": "mine"}})
    with pytest.raises(SettingError, match="trained with method 'mine', which is not registered here"):
        newest_state(tmp_path)


def refused(capsys, arguments, *parts):
    assert train_program.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and "Traceback" not in error
    for part in parts:
        assert part in error, error


def test_a_stopped_run_continues_to_the_same_weights(flags, data, tmp_path, capsys):
    assert train_program.main(flags("sysu", "--epochs", "3")) == 0
    whole, whole_rows = state(tmp_path / "run"), rows(tmp_path / "run")
    shutil.rmtree(tmp_path / "run")
    assert train_program.main(flags("sysu", "--epochs", "1")) == 0
    assert train_program.main(flags("sysu", "--epochs", "3")) == 0
    assert "continuing after epoch 0" in capsys.readouterr().out
    for name, value in state(tmp_path / "run").items():
        assert torch.equal(value, whole[name]), name
    for a, b in zip(rows(tmp_path / "run"), whole_rows, strict=True):
        assert {k: v for k, v in a.items() if k != "seconds"} == {
            k: v for k, v in b.items() if k != "seconds"
        }
    (tmp_path / "run/last.pt").write_bytes(b"damaged")
    assert train_program.main(flags("sysu", "--epochs", "3")) == 0
    assert "going back to" in capsys.readouterr().out
    assert all(torch.equal(value, whole[name]) for name, value in state(tmp_path / "run").items())
    moved = tmp_path / "moved"
    shutil.copytree(data["sysu"], moved)
    assert (
        train_program.main(flags("sysu", "--epochs", "3", "--data-dir", str(moved))) == 0
    )  # the same images elsewhere
    picture = next((moved / "cam2/0003").iterdir())
    picture.write_bytes(picture.read_bytes() + b" ")
    assert train_program.main(flags("sysu", "--epochs", "3", "--data-dir", str(moved))) == 2
    assert "training images:" in capsys.readouterr().err
    assert train_program.main(flags("sysu", "--epochs", "3", "--eps", "0.4")) == 2
    assert "--eps: 0.5 then, 0.4 now" in capsys.readouterr().err


@pytest.mark.long
def test_a_stopped_run_of_each_method_continues_to_the_same_weights(flags, tmp_path):
    for method in ("gur", "adca", "baseline"):
        whole, parts = tmp_path / f"{method}_whole", tmp_path / f"{method}_parts"
        for logs, epochs in ((whole, "2"), (parts, "1"), (parts, "2")):
            line = flags("sysu", "--method", method, "--logs-dir", str(logs), "--epochs", epochs)
            assert train_program.main(line) == 0
        for name, value in state(parts).items():
            assert torch.equal(value, state(whole)[name]), (method, name)


def test_a_checkpoint_without_labels_goes_on_without_label_churn_for_one_epoch(flags, tmp_path, monkeypatch):
    """As earlier versions wrote them. Nothing else changes: the churn is for the log."""
    assert (
        train_program.main(
            flags("sysu", "--report", "none", "--epochs", "3", "--logs-dir", str(tmp_path / "whole"))
        )
        == 0
    )
    assert train_program.main(flags("sysu", "--report", "none", "--epochs", "1")) == 0
    saved = checkpoint.load(tmp_path / "run/last.pt")
    assert set(saved.pop("labels")) == {"visible", "infrared"}
    checkpoint.save(tmp_path / "run", checkpoint.LAST, saved)
    assert train_program.main(flags("sysu", "--report", "none", "--epochs", "3")) == 0
    found, whole = (rows(tmp_path / name) for name in ("run", "whole"))
    assert ["churn" in r["labels"]["infrared"] for r in found] == [False, False, True]
    assert ["churn" in r["labels"]["infrared"] for r in whole] == [False, True, True]
    assert found[2]["labels"] == whole[2]["labels"] and found[1]["losses"] == whole[1]["losses"]
    for name, value in state(tmp_path / "run").items():
        assert torch.equal(value, state(tmp_path / "whole")[name]), name


def test_a_full_disk_costs_the_epoch_only(flags, tmp_path, monkeypatch, capsys):
    assert train_program.main(flags("sysu", "--epochs", "1")) == 0
    whole = state(tmp_path / "run")
    plain = os.fsync

    def full(number):
        if list((tmp_path / "run").glob("last.pt.*.tmp")):
            raise OSError(28, "No space left on device")
        plain(number)

    monkeypatch.setattr(os, "fsync", full)
    refused(
        capsys,
        flags("sysu", "--epochs", "2"),
        "last.pt cannot be written: No space left on device",
        "run again",
    )
    assert all(torch.equal(value, whole[name]) for name, value in state(tmp_path / "run").items())
    monkeypatch.setattr(os, "fsync", plain)
    assert train_program.main(flags("sysu", "--epochs", "2")) == 0
    monkeypatch.setattr(
        os, "replace", lambda *_: (_ for _ in ()).throw(OSError(30, "Read-only file system", "metrics.jsonl"))
    )
    refused(capsys, flags("sysu", "--epochs", "3"), "metrics.jsonl", "Read-only file system")


def test_a_run_begun_anew_leaves_the_old_one_whole_and_can_be_interrupted(
    flags, tmp_path, monkeypatch, capsys
):
    line, folder = (
        flags("sysu", "--method", "baseline", "--report", "none", "--epochs", "1"),
        tmp_path / "run",
    )
    assert train_program.main(line) == 0
    old = (folder / checkpoint.LAST).read_bytes()
    stop_at(monkeypatch, 5)
    assert train_program.main([*line, "--seed", "7", "--no-resume"]) == INTERRUPTED
    monkeypatch.undo()
    assert "the same command without --no-resume continues" in capsys.readouterr().err
    assert (folder / "replaced_1" / checkpoint.LAST).read_bytes() == old and rows(folder / "replaced_1")
    assert not (folder / checkpoint.LAST).exists()
    assert train_program.main([*line, "--seed", "7"]) == 0
    assert "continuing within epoch 0" in capsys.readouterr().out
    assert train_program.main([*line, "--seed", "7", "--logs-dir", str(tmp_path / "whole")]) == 0
    found, expected = state(folder), state(tmp_path / "whole")
    assert all(torch.equal(found[name], value) for name, value in expected.items())


@pytest.mark.parametrize("flag", ["--pretrained", "--from-run"])
def test_a_run_begun_anew_does_not_begin_with_a_file_that_it_moves(tmp_path, flag):
    method = ["--method", "hil"] if flag == "--from-run" else []
    named = tmp_path / "run" / "stage_contrast.pt"
    named.parent.mkdir()
    named.touch()
    for logs, refused in ((tmp_path / "run", True), (tmp_path / "elsewhere", False)):
        settings = parse([*method, "--no-resume", flag, str(named), "--logs-dir", str(logs)], "x", "")[0]
        if refused:
            with pytest.raises(SettingError, match=f"{flag} .* which --no-resume replaces"):
                refuse_replaced_start(settings)
        else:
            refuse_replaced_start(settings)


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.Adam])
@pytest.mark.parametrize(("before", "after"), [(None, True), (True, None), (True, True)])
def test_an_optimiser_goes_on_with_other_kernels_and_options(kind, before, after):
    """From a CPU to a GPU, where the kernels are fused; and --resume-anyway with another weight decay."""

    def made(fused, decay):
        weight = torch.nn.Parameter(torch.ones(3))
        options = {"momentum": 0.9} if kind is torch.optim.SGD else {}
        return kind([weight], lr=0.1, weight_decay=decay, fused=fused, **options), weight

    def step(optimizer, weight):
        scaler = skipping_scaler(torch.device("cpu"))
        scaler.scale((weight * torch.arange(3.0)).sum()).backward()
        scaler.step(optimizer)
        weight.grad = None

    first, weight = made(before, 0.5)
    step(first, weight)
    then, other = made(after, 0.0)
    with torch.no_grad():
        other.copy_(weight)
    continue_optimizer(then, first.state_dict())
    step(then, other)
    (options,) = then.param_groups
    assert options["fused"] is after and options["weight_decay"] == 0
    plain, expected = made(None, 0.5)
    step(plain, expected)
    plain.param_groups[0]["weight_decay"] = 0
    step(plain, expected)
    torch.testing.assert_close(other, expected)
