"""The real commands on tiny images: train, resume, test; one and two processes; and every bad input with its message."""

import json
import os
import shutil
import subprocess
import sys

import pytest
import torch
from helpers.small_runs import METHOD_FLAGS, ROOT, SMALL, rows, state
from safetensors.torch import save_file

from sdcl import test as test_program
from sdcl import train as train_program
from sdcl.config.settings import from_flat
from sdcl.methods.parts.cluster_contrast import ClusterContrast
from sdcl.models.factory import build_model
from sdcl.runtime import checkpoint


def test_both_stages_then_test(flags, tmp_path, capsys):
    assert train_program.main(flags("sysu")) == 0
    run = tmp_path / "run"
    first, second = rows(run)
    assert (first["stage"], second["stage"]) == ("contrast", "unified")
    assert second["labels"]["visible_associated"]["clusters"] >= 2
    assert {"embed", "cluster", "train", "test"} == set(first["seconds"])
    assert set(first["losses"]) == {
        *(f"cluster_{m}_{b}" for m in ("visible", "infrared") for b in ("deep", "shallow")),
        *(f"neighbor_{m}_{m}_{b}" for m in ("visible", "infrared") for b in ("deep", "shallow")),
    }
    for name in ("config.json", "environment.json", "log.txt", "last.pt", "previous.pt", "stage_contrast.pt"):
        assert (run / name).stat().st_size > 0, name
    settings = from_flat(json.loads((run / "config.json").read_text()))
    assert settings.sdcl.unify_from == 1 and settings.cluster.eps == 0.5
    text = capsys.readouterr().out
    assert "is synthetic" in text and "clusters v/i" in text and "eps                          0.5" in text
    assert test_program.main(["-d", "sysu", *flags("sysu")[2:8], "--shots", "1,3"]) == 0
    shown = json.loads((run / "test.json").read_text())
    assert [r["protocol"] for r in shown] == [
        f"SYSU-MM01 {mode}-search {shot}, 10 seeded draws" for mode in ("all", "indoor") for shot in ("single-shot", "3-shot")
    ]
    assert shown[0]["R1"] == pytest.approx(second["test"][0]["R1"]) and shown[0]["mAP"] == pytest.approx(second["test"][0]["mAP"])
    assert (run / "test.md").exists() and (run / "test.tex").exists()


def test_regdb_trials_and_the_leak_that_is_refused(flags, tmp_path, capsys):
    for trial in ("3", "5"):
        assert train_program.main(flags("regdb", "--trial", trial)) == 0
    base = ["-d", "regdb", *flags("regdb")[2:8]]
    assert test_program.main([*base, "--trials", "3,5"]) == 0
    shown = json.loads((tmp_path / "run/test.json").read_text())
    assert [r["direction"] for r in shown] == ["visible to thermal", "thermal to visible"]
    for row in shown:
        assert row["trials"] == [3, 5] and row["protocol"] == "RegDB, mean of 2 trials"
        each = [one["mAP"] for one in row["per_draw"]]
        assert row["mAP"] == pytest.approx(sum(each) / 2) and row["std"]["mAP"] == pytest.approx(abs(each[0] - each[1]) / 2**0.5)
        for trial, one in zip((3, 5), row["per_draw"]):
            own = json.loads((tmp_path / f"run/trial_{trial}/test.json").read_text())
            assert one in [{name: r[name] for name in one} for r in own]
    assert "| mean ± std |" in (tmp_path / "run/test.md").read_text()
    capsys.readouterr()
    wrong = [*base, "--trial", "5", "--checkpoint", str(tmp_path / "run/trial_3/last.pt")]
    assert test_program.main(wrong) == 2
    error = capsys.readouterr().err
    assert "trained on RegDB trial 3, this test is of trial 5" in error
    assert test_program.main(["-d", "sysu", *wrong[2:]]) == 2


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
        assert {k: v for k, v in a.items() if k != "seconds"} == {k: v for k, v in b.items() if k != "seconds"}
    (tmp_path / "run/last.pt").write_bytes(b"damaged")
    assert train_program.main(flags("sysu", "--epochs", "3")) == 0
    assert "going back to" in capsys.readouterr().out
    assert all(torch.equal(value, whole[name]) for name, value in state(tmp_path / "run").items())
    moved = tmp_path / "moved"
    shutil.copytree(data["sysu"], moved)
    assert train_program.main(flags("sysu", "--epochs", "3", "--data-dir", str(moved))) == 0  # the same images elsewhere
    picture = next((moved / "cam2/0003").iterdir())
    picture.write_bytes(picture.read_bytes() + b" ")
    assert train_program.main(flags("sysu", "--epochs", "3", "--data-dir", str(moved))) == 2
    assert "training images:" in capsys.readouterr().err
    assert train_program.main(flags("sysu", "--epochs", "3", "--eps", "0.4")) == 2
    assert "--eps: 0.5 then, 0.4 now" in capsys.readouterr().err


def test_a_checkpoint_without_labels_goes_on_without_label_churn_for_one_epoch(flags, tmp_path, monkeypatch):
    """As earlier versions wrote them. Nothing else changes: the churn is told, never used."""
    assert train_program.main(flags("sysu", "--report", "none", "--epochs", "3", "--logs-dir", str(tmp_path / "whole"))) == 0
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


def run_script(name, *arguments, processes=1, timeout=300):
    environment = {**os.environ, "GPUS": str(processes), "PYTHON": sys.executable, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        ["sh", str(ROOT / name), *map(str, arguments)], capture_output=True, text=True, timeout=timeout, check=False, env=environment
    )


@pytest.mark.parametrize("dataset,numbers", [("sysu", (1, 2)), ("regdb", (1, 2)), ("sysu", (1, 4))])
def test_launch_scripts_with_several_processes(flags, tmp_path, dataset, numbers):
    """The scripts as they are; any number of processes gives the same labels and nearly the same weights.

    Two processes are the two BatchNorm slices; four share each slice by two, and stochastic depth, which then differs, is off.
    """
    found = []
    for processes in numbers:
        trial = ["--trial", "2"] if dataset == "regdb" else []
        calm = ["--drop-path", "0"] if 4 in numbers else []
        logs = tmp_path / f"processes_{processes}"
        done = run_script(
            f"train_cc_vit_{dataset}.sh", *flags(dataset, "--logs-dir", str(logs), *trial, *calm, "--check-ranks"), processes=processes
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        tested = run_script(
            f"test_cc_vit_{dataset}.sh", *flags(dataset)[2:4], "--logs-dir", logs, "--cache-dir", tmp_path / "cache", *trial
        )
        assert tested.returncode == 0 and "mINP" in tested.stdout, tested.stderr[-3000:]
        run = logs / "trial_2" if trial else logs
        found.append((rows(run), state(run)))
    (rows_one, one), (rows_two, two) = found
    for a, b in zip(rows_one, rows_two, strict=True):
        assert a["labels"] == b["labels"] and a["loss"] == pytest.approx(b["loss"], rel=1e-4)
    for name in one:
        assert torch.allclose(one[name].float(), two[name].float(), atol=2e-5), name


def same_with(flags, tmp_path, method, dataset, numbers, *more):
    """Train by the method's example script with each number of processes: the same labels, and nearly the same weights. Returns the rows.

    SGD instead of the recipes' Adam, whose first steps turn the sign of a rounding error into a full step.
    """
    found = []
    for processes in numbers:
        logs = tmp_path / f"processes_{processes}"
        trial = ["--trial", "1"] if dataset == "regdb" else []
        own = ["--method", method, *METHOD_FLAGS, "--optimizer", "sgd", "--check-ranks", *more]
        script = f"train_cc_vit_{dataset}.sh" if method == "baseline" else f"examples/train_{method}_{dataset}.sh"
        done = run_script(script, *flags(dataset, "--logs-dir", str(logs), *trial, *own), processes=processes)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        run = logs / "trial_1" if trial else logs
        found.append((rows(run), state(run)))
    (rows_one, one), (rows_many, many) = found
    for a, b in zip(rows_one, rows_many, strict=True):
        assert a["labels"] == b["labels"] and a["loss"] == pytest.approx(b["loss"], rel=1e-4)
    for name in one:
        assert torch.allclose(one[name].float(), many[name].float(), atol=2e-5), name
    return rows_one


@pytest.mark.parametrize("dataset", ["sysu", "regdb"])
@pytest.mark.parametrize(
    "method,stages", [("gur", ("joint", "joint")), ("adca", ("contrast", "aggregated")), ("baseline", ("contrast",) * 2)]
)
def test_other_methods_with_one_and_two_processes(flags, tmp_path, method, stages, dataset):
    assert tuple(r["stage"] for r in same_with(flags, tmp_path, method, dataset, (1, 2))) == stages
    tested = run_script(
        f"examples/test_gur_{dataset}.sh", *flags(dataset)[2:4], "--method", method, "--logs-dir", tmp_path / "processes_2",
        "--cache-dir", tmp_path / "cache", *(["--trials", "1"] if dataset == "regdb" else []),
    )  # fmt: skip
    assert tested.returncode == 0 and "mINP" in tested.stdout, tested.stderr[-3000:]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["gur", "adca", "baseline"])
def test_other_methods_with_four_processes(flags, tmp_path, method):
    """More processes than BatchNorm slices; stochastic depth, which then differs, is off.

    Losses of GUR's camera stages agree to six digits. Association embeddings over the memories of 30 images are saturated and nearly tied, so that the
    seventh digit would decide their clusters: GUR clusters its features here. Its 72 steps are small ones, or rounding grows to 1e-4.
    """
    calm = ["--no-cae", "--lr", "1e-6"] if method == "gur" else []
    same_with(flags, tmp_path, method, "sysu", (1, 4), "--drop-path", "0", *calm)


def test_a_full_disk_is_said_and_costs_the_epoch_only(flags, tmp_path, monkeypatch, capsys):
    assert train_program.main(flags("sysu", "--epochs", "1")) == 0
    whole = state(tmp_path / "run")
    plain = os.fsync

    def full(number):
        if (tmp_path / "run/last.pt.tmp").exists():
            raise OSError(28, "No space left on device")
        plain(number)

    monkeypatch.setattr(os, "fsync", full)
    refused(capsys, flags("sysu", "--epochs", "2"), "last.pt cannot be written: No space left on device", "run again")
    assert all(torch.equal(value, whole[name]) for name, value in state(tmp_path / "run").items())
    monkeypatch.setattr(os, "fsync", plain)
    assert train_program.main(flags("sysu", "--epochs", "2")) == 0
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError(30, "Read-only file system", "metrics.jsonl")))
    refused(capsys, flags("sysu", "--epochs", "3"), "metrics.jsonl", "Read-only file system")


def test_gur_tells_of_all_its_stages(flags, tmp_path):
    assert train_program.main(flags("sysu", "--method", "gur", *METHOD_FLAGS)) == 0
    first, second = rows(tmp_path / "run")
    cameras = [f"cameras_{v}_{i}" for v in (1, 2, 4, 5) for i in (3, 6)]
    assert list(first["iterations"]) == [*cameras, "modalities", "joint"]
    assert list(second["iterations"])[-2:] == ["unified", "joint"]
    trained = [name for name, steps in first["iterations"].items() if steps]
    assert set(first["losses"]) == {f"{name}/cluster_{m}_deep" for name in trained for m in ("visible", "infrared")}
    by_camera = {f"{m}_camera_{c}" for m, ids in (("visible", (1, 2, 4, 5)), ("infrared", (3, 6))) for c in ids}
    assert by_camera | {"visible", "infrared", "visible_joint", "infrared_joint"} == set(first["labels"])
    assert first["labels"]["visible_camera_1"]["outliers"] <= 12  # of that camera's images, not of all


def test_a_stopped_run_of_each_method_continues_to_the_same_weights(flags, tmp_path):
    for method in ("gur", "adca", "baseline"):
        whole, parts = tmp_path / f"{method}_whole", tmp_path / f"{method}_parts"
        for logs, epochs in ((whole, "2"), (parts, "1"), (parts, "2")):
            line = flags("sysu", "--method", method, *METHOD_FLAGS, "--logs-dir", str(logs), "--epochs", epochs)
            assert train_program.main(line) == 0
        for name, value in state(parts).items():
            assert torch.equal(value, state(whole)[name]), (method, name)


def test_one_feature_methods_refuse_a_branch_they_would_not_train(flags, capsys):
    refused(capsys, flags("sysu", "--method", "gur", "--shallow"), "--no-shallow", "gur")


def test_all_ten_regdb_trials_are_looped_over():
    done = run_script("train_cc_vit_regdb.sh", "--print-config", *SMALL)
    assert done.returncode == 0
    assert [line for line in done.stdout.splitlines() if "settings of" in line] == [
        f"settings of the run in logs/sdcl_regdb/trial_{t}:" for t in range(1, 11)
    ]


def test_the_legacy_line_trains_what_it_says(capsys):
    legacy = [
        "-b",
        "256",
        "-a",
        "agw",
        "-d",
        "sysu_all",
        "--iters",
        "200",
        "--momentum",
        "0.1",
        "--eps",
        "0.6",
        "--num-instances",
        "16",
        "--print-config",
    ]
    with pytest.raises(SystemExit):
        train_program.main(legacy)
    shown = dict(line.split()[:2] for line in capsys.readouterr().out.splitlines()[1:])
    expected = {"batch_size": "256", "arch": "resnet50_ibn", "dataset": "sysu", "iters": "200", "momentum": "0.1", "eps": "0.6"}
    assert expected.items() <= shown.items()


def test_resnet_trains_with_its_deep_feature_only(flags, tmp_path, capsys):
    assert train_program.main(flags("sysu", "-a", "resnet_mini", "--epochs", "2")) == 0
    assert "resnet_mini has no shallow branch" in capsys.readouterr().out
    assert not any("shallow" in name for name in rows(tmp_path / "run")[0]["losses"])


# ------------------------------------------------------------------ bad input


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
        {k: v.contiguous() for k, v in build_model("resnet_mini", height=32, width=16).state_dict().items()}, tmp_path / "w.safetensors"
    )
    refused(capsys, flags("sysu", "--pretrained", str(tmp_path / "w.safetensors")), "w.safetensors", "--arch")
    refused(capsys, flags("sysu", "--pretrained", str(tmp_path / "absent.pth")), "absent.pth", "--pretrained none")


def test_first_epoch_without_clusters(flags, tmp_path, capsys):
    refused(capsys, flags("sysu", "--min-samples", "60"), "epoch 0", "0 cluster(s)", "--eps", "--pretrained none", "--momentum-first")
    assert not (tmp_path / "run/last.pt").exists()


def test_eps_is_moved_when_there_are_too_few_clusters(flags, tmp_path, capsys):
    assert train_program.main(flags("sysu", "--eps", "0.02", "--eps-step", "0.3", "--epochs", "1")) == 0
    labels = rows(tmp_path / "run")[0]["labels"]
    assert all(labels[m]["eps"] > 0.3 and labels[m]["clusters"] >= 2 for m in labels)
    refused(capsys, flags("sysu", "--eps", "0.001", "--eps-step", "0.001", "--logs-dir", str(tmp_path / "two")), "up to 0.00", "--eps-step")


def test_collapsed_features_stop_the_run(flags, tmp_path, capsys):
    refused(capsys, flags("sysu", "--max-similarity", "0"), "epoch 0", "have collapsed", "--momentum-first")
    refused(capsys, flags("sysu", "--min-rank", "1000"), "have collapsed", "--min-rank 1000")
    assert not (tmp_path / "run/last.pt").exists()


def break_gradients(monkeypatch, at):
    """Add a term of value 0 whose gradient is infinite, in the given steps of every stage."""
    plain, step = ClusterContrast.forward, [0]

    def forward(self, features, everyone, batch):
        terms = plain(self, features, everyone, batch)
        if step[0] in at:
            terms["broken"] = (features["visible"]["deep"].sum() * 0).abs().sqrt()
        else:
            terms["broken"] = features["visible"]["deep"].sum() * 0
        step[0] += 1
        return terms

    monkeypatch.setattr(ClusterContrast, "forward", forward)


def test_a_gradient_that_is_not_finite_is_skipped_and_counted(flags, tmp_path, monkeypatch, capsys):
    break_gradients(monkeypatch, {1})
    assert train_program.main(flags("sysu", "--epochs", "1")) == 0
    assert rows(tmp_path / "run")[0]["skipped_steps"] == 1
    assert all(torch.isfinite(v).all() for v in state(tmp_path / "run").values())
    break_gradients(monkeypatch, {0, 1, 2})
    refused(capsys, flags("sysu", "--max-skipped", "1", "--logs-dir", str(tmp_path / "two")), "left out", "--max-skipped 1")


def test_loss_that_becomes_nan(flags, tmp_path, capsys):
    refused(capsys, flags("sysu", "--lr", "1e30", "--epochs", "1"), "became nan", "--lr")
    assert not (tmp_path / "run/last.pt").exists()


def test_values_that_no_run_can_have(flags, tmp_path, capsys):
    for wrong, part in (
        (["--eps", "1.5"], "--eps"), (["--num-instances", "3"], "--num-instances"), (["--trial", "0"], "--trial"),
        (["--iters", "0"], "--iters"), (["-d", "market"], "market"), (["--bn-replicas", "3"], "--bn-replicas"),
        (["--device", "cuda:99"], "--device"), (["--config", str(tmp_path / "none.json")], "none.json"),
    ):  # fmt: skip
        refused(capsys, [*flags("sysu"), *wrong], part)
    (tmp_path / "odd.json").write_text('{"epsilon": 1}')
    refused(capsys, [*flags("sysu"), "--config", str(tmp_path / "odd.json")], "epsilon")


def test_no_checkpoint_to_test(flags, tmp_path, capsys):
    assert test_program.main(["-d", "sysu", *flags("sysu")[2:8]]) == 2
    assert "no checkpoint at" in capsys.readouterr().err


def test_regdb_from_rendered_people_with_the_default_folders(tmp_path):
    """The quick start's path for RegDB, smaller: render, prepare, both stages, test, with nothing said about places."""
    environment = {**os.environ, "GPUS": "1", "PYTHON": sys.executable, "PYTHONPATH": str(ROOT)}

    def call(*command):
        done = subprocess.run([*map(str, command)], cwd=tmp_path, capture_output=True, text=True, check=False, env=environment)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return done.stdout

    call(sys.executable, "-m", "sdcl.synthetic.dataset", "--layout", "regdb", "--out", "data/regdb", "--identities", 8, "--jobs", 2)
    call(sys.executable, ROOT / "prepare_regdb.py")
    small = (
        "--epochs 2 --iters 3 --iters-unified 3 --unify-from 1 -b 16 --num-instances 4 --k1 10 --k1-visible-unified 10 --cra-k 4 --eps 0.6"
    )
    shown = call("sh", ROOT / "train_cc_vit_regdb.sh", "--config", ROOT / "examples/quickstart.json", *small.split(), "--trial", 1)
    assert "is synthetic" in shown and "loaded 108 of 108" in shown
    assert "thermal to visible" in call("sh", ROOT / "test_cc_vit_regdb.sh", "--trials", 1)
    first, second = rows(tmp_path / "logs/sdcl_regdb/trial_1")
    assert second["stage"] == "unified" and first["labels"]["visible"]["ari"] > 0.1
