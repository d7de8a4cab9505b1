"""Bad input to the training program: one line that names thing, cause and remedy, and exit code 2."""

import shutil

import pytest
from helpers.small_runs import rows
from safetensors.torch import save_file

from sdcl import train as train_program
from sdcl.models.factory import build_model


def refused(capsys, arguments, *parts):
    assert train_program.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and "Traceback" not in error
    for part in parts:
        assert part in error, error


def test_no_data_folder(flags, tmp_path, capsys):
    refused(capsys, [*flags("sysu"), "--data-dir", str(tmp_path / "nothing")], "nothing", "--data-dir")


def test_unknown_flag_and_abbreviation(flags, capsys):
    for flag in ("--nonsense", "--epoch"):
        with pytest.raises(SystemExit) as stop:
            train_program.main([*flags("sysu"), flag, "3"])
        assert stop.value.code == 2 and flag in capsys.readouterr().err


def test_truncated_image(flags, data, tmp_path, capsys):
    root = tmp_path / "broken"
    shutil.copytree(data["sysu"], root)
    victim = root / "cam3/0002/0002.jpg"
    victim.write_bytes(victim.read_bytes()[:300])
    refused(capsys, [*flags("sysu"), "--data-dir", str(root)], "cam3/0002/0002.jpg", "original archive")


def test_weight_file_of_another_architecture(flags, tmp_path, capsys):
    save_file(
        {k: v.contiguous() for k, v in build_model("resnet_mini", height=32, width=16).state_dict().items()},
        tmp_path / "w.safetensors",
    )
    refused(capsys, flags("sysu", "--pretrained", str(tmp_path / "w.safetensors")), "w.safetensors", "--arch")
    refused(
        capsys, flags("sysu", "--pretrained", str(tmp_path / "absent.pth")), "absent.pth", "--pretrained none"
    )


def test_first_epoch_without_clusters(flags, tmp_path, capsys):
    refused(
        capsys,
        flags("sysu", "--min-samples", "60"),
        "epoch 0",
        "0 cluster(s)",
        "--eps",
        "--pretrained none",
        "--momentum-first",
    )
    assert not (tmp_path / "run/last.pt").exists()


def test_eps_is_moved_when_there_are_too_few_clusters(flags, tmp_path, capsys):
    assert train_program.main(flags("sysu", "--eps", "0.02", "--eps-step", "0.3", "--epochs", "1")) == 0
    labels = rows(tmp_path / "run")[0]["labels"]
    assert all(labels[m]["eps"] > 0.3 and labels[m]["clusters"] >= 2 for m in labels)
    refused(
        capsys,
        flags("sysu", "--eps", "0.001", "--eps-step", "0.001", "--logs-dir", str(tmp_path / "two")),
        "up to 0.00",
        "--eps-step",
    )


def test_collapsed_features_stop_the_run(flags, tmp_path, capsys):
    refused(capsys, flags("sysu", "--max-similarity", "0"), "epoch 0", "have collapsed", "--momentum-first")
    refused(capsys, flags("sysu", "--min-rank", "1000"), "have collapsed", "--min-rank 1000")
    assert not (tmp_path / "run/last.pt").exists()


def test_values_that_no_run_can_have(flags, tmp_path, capsys):
    for wrong, part in (
        (["--eps", "1.5"], "--eps"), (["--num-instances", "3"], "--num-instances"),
        (["--trial", "0"], "--trial"), (["--iters", "0"], "--iters"),
        (["-d", "market"], "market"), (["--bn-replicas", "3"], "--bn-replicas"),
        (["--device", "cuda:99"], "--device"), (["--config", str(tmp_path / "none.json")], "none.json"),
    ):  # fmt: skip
        refused(capsys, [*flags("sysu"), *wrong], part)
    (tmp_path / "odd.json").write_text('{"epsilon": 1}')
    refused(capsys, [*flags("sysu"), "--config", str(tmp_path / "odd.json")], "epsilon")


def test_one_feature_methods_refuse_a_branch_they_would_not_train(flags, capsys):
    refused(capsys, flags("sysu", "--method", "gur", "--shallow"), "--no-shallow", "gur")
