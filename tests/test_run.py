"""The real commands on tiny images: train, then test."""

import json
import re

import pytest
from helpers.small_runs import rows

from sdcl import test as test_program
from sdcl import train as train_program
from sdcl.config import from_flat
from sdcl.inference.test_set import TestSet

QUICK = ("--eval-step", "0", "--report", "none")


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
    assert settings.method.unify_from == 1 and settings.cluster.eps == 0.5
    text = capsys.readouterr().out
    assert "is synthetic" in text and "clusters v/i" in text and "--eps 0.5 (flag)" in text
    assert test_program.main(["-d", "sysu", *flags("sysu")[2:8], "--shots", "1,3", "--eps", "0.4"]) == 0
    assert "note: --eps: read by training alone, without effect on a test" in capsys.readouterr().out
    shown = json.loads((run / "test.json").read_text())
    assert [r["protocol"] for r in shown] == [
        f"SYSU-MM01 {mode}-search {shot}, 10 seeded draws"
        for mode in ("all", "indoor")
        for shot in ("single-shot", "3-shot")
    ]
    assert shown[0]["R1"] == pytest.approx(second["test"][0]["R1"]) and shown[0]["mAP"] == pytest.approx(
        second["test"][0]["mAP"]
    )
    assert (run / "test.md").exists() and (run / "test.tex").exists()


def test_regdb_trials_and_the_leak_that_is_refused(flags, tmp_path, capsys):
    for trial in ("3", "5"):
        assert train_program.main(flags("regdb", "--trial", trial, "--epochs", "1", *QUICK)) == 0
    base = ["-d", "regdb", *flags("regdb")[2:8]]
    assert test_program.main([*base, "--trials", "3,5"]) == 0
    shown = json.loads((tmp_path / "run/test.json").read_text())
    assert [r["direction"] for r in shown] == ["visible to thermal", "thermal to visible"]
    for row in shown:
        assert row["trials"] == [3, 5] and row["protocol"] == "RegDB, mean of 2 trials"
        each = [one["mAP"] for one in row["per_draw"]]
        assert row["mAP"] == pytest.approx(sum(each) / 2) and row["std"]["mAP"] == pytest.approx(
            abs(each[0] - each[1]) / 2**0.5
        )
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


def test_gur_logs_all_its_stages(flags, tmp_path):
    assert (
        train_program.main(flags("sysu", "--method", "gur", "--iters", "1", "--camera-iters", "1", *QUICK))
        == 0
    )
    first, second = rows(tmp_path / "run")
    cameras = [f"cameras_{v}_{i}" for v in (1, 2, 4, 5) for i in (3, 6)]
    assert list(first["iterations"]) == [*cameras, "modalities", "joint"]
    assert list(second["iterations"])[-2:] == ["unified", "joint"]
    trained = [name for name, steps in first["iterations"].items() if steps]
    assert set(first["losses"]) == {
        f"{name}/cluster_{m}_deep" for name in trained for m in ("visible", "infrared")
    }
    by_camera = {
        f"{m}_camera_{c}" for m, ids in (("visible", (1, 2, 4, 5)), ("infrared", (3, 6))) for c in ids
    }
    assert by_camera | {"visible", "infrared", "visible_joint", "infrared_joint"} == set(first["labels"])
    assert first["labels"]["visible_camera_1"]["outliers"] <= 12  # of that camera's images, not of all


def test_resnet_trains_with_its_deep_feature_only(flags, tmp_path, capsys):
    assert train_program.main(flags("sysu", "-a", "resnet_mini", "--epochs", "1", *QUICK)) == 0
    assert "resnet_mini has no shallow branch" in capsys.readouterr().out
    assert not any("shallow" in name for name in rows(tmp_path / "run")[0]["losses"])


def test_the_command_line_of_the_released_code(capsys):
    legacy = (
        "-b 256 -a agw -d sysu_all --iters 200 --momentum 0.1 --eps 0.6 --num-instances 16 --print-config"
    ).split()
    with pytest.raises(SystemExit):
        train_program.main(legacy)
    shown = dict(line.split()[:2] for line in capsys.readouterr().out.splitlines()[1:])
    expected = {
        "batch_size": "256",
        "arch": "resnet50_ibn",
        "dataset": "sysu",
        "iters": "200",
        "momentum": "0.1",
        "eps": "0.6",
    }
    assert expected.items() <= shown.items()


@pytest.mark.parametrize(
    ("line", "released"),
    [
        (
            "-b 256 -a agw -d sysu_all --iters 200 --momentum 0.1 --eps 0.6 --num-instances 16",
            "--arch vit_base, --batch-size 128. Here they count. The line that reproduces the released run: "
            "sdcl train --method sdcl -d sysu\n",
        ),
        ("-d regdb_rgb --momentum 0.99", "note: --momentum 0.99: .* but with --momentum 0.1. .* -d regdb\n"),
        (
            "--method gur -d regdb --eps 0.6",
            "note: --eps 0.6: .* but with --eps 0.3. .* --method gur -d regdb\n",
        ),
        (
            "--method hil -d sysu --from-run none -b 256 -a agw",
            (
                "--arch agw, --batch-size 256: .* but with --arch vit_base, --batch-size 128. .* "
                "-d sysu --from-run none"
            ),
        ),
        (
            "--method pgm -d regdb --eps 0.6",
            "note: --eps 0.6: .* but with --eps 0.3. .* --method pgm -d regdb\n",
        ),
        ("-d sysu --eps 0.6 --batch-size 64", ""),
        ("-d sysu --momentum 0.99", ""),
    ],
)
def test_a_copied_command_line_is_answered_in_the_log(tmp_path, line, released):
    where = ["--data-dir", str(tmp_path / "none"), "--logs-dir", str(tmp_path / "run")]
    assert train_program.main([*line.split(), *where]) == 2  # there are no images
    (log,) = tmp_path.glob("run/**/log.txt")
    text = log.read_text()
    assert re.search(released, text) if released else "released" not in text


def test_no_checkpoint_to_test(flags, tmp_path, capsys):
    assert test_program.main(["-d", "sysu", *flags("sysu")[2:8]]) == 2
    assert "no checkpoint at" in capsys.readouterr().err


def test_results_say_whose_they_are_and_replace_no_other_runs(flags, tmp_path, capsys):
    for name in ("one", "other"):
        line = ["--method", "baseline", "--epochs", "1", *QUICK, "--resize-test", "bilinear"]
        assert train_program.main(flags("sysu", *line, "--logs-dir", str(tmp_path / name))) == 0
    elsewhere = ["--checkpoint", str(tmp_path / "other" / "last.pt")]
    given = [
        *flags("sysu")[:4],
        "--cache-dir",
        str(tmp_path / "cache"),
        "--device",
        "cpu",
        "--report",
        "none",
    ]
    assert test_program.main([*given, *elsewhere, "--logs-dir", str(tmp_path / "one")]) == 2
    assert "is not of the run in" in capsys.readouterr().err and not (tmp_path / "one/test.json").exists()
    for below in ("one/replaced_1", "one/../other"):
        (tmp_path / below).mkdir(exist_ok=True)
        copy = tmp_path / below / "last.pt"
        copy.write_bytes((tmp_path / "other/last.pt").read_bytes())
        given_one = [*given, "--checkpoint", str(copy), "--logs-dir", str(tmp_path / "one")]
        assert test_program.main(given_one) == 2 and not (tmp_path / "one/test.json").exists()
    for folder in ("other", "new"):
        assert test_program.main([*given, *elsewhere, "--logs-dir", str(tmp_path / folder)]) == 0
        for row in json.loads((tmp_path / folder / "test.json").read_text()):
            assert (row["epoch"], row["checkpoint"]) == (0, elsewhere[1])


def test_a_test_resizes_as_in_training(flags, tmp_path, monkeypatch):
    line = ["--method", "baseline", "--epochs", "1", *QUICK, "--resize-test", "bilinear"]
    assert train_program.main(flags("sysu", *line)) == 0
    used, build = [], TestSet.__init__

    def looking(self, dataset, settings, processes):
        used.append(settings.data.resize_test)
        build(self, dataset, settings, processes)

    monkeypatch.setattr(TestSet, "__init__", looking)
    given = ["-d", "sysu", *flags("sysu")[2:8], "--device", "cpu", "--report", "none"]
    (tmp_path / "c.json").write_text('{"resize_test": "lanczos"}')
    for more in ([], ["--resize-test", "bicubic"], ["--config", str(tmp_path / "c.json")]):
        assert test_program.main([*given, *more]) == 0
    assert used == ["bilinear", "bicubic", "lanczos"]


def test_a_method_with_every_part_off_is_not_a_run(flags, capsys):
    """GUR would only cluster."""
    off = "--no-intra-camera --no-inter-camera --no-inter-modality --no-propagation".split()
    given = flags("sysu", "--method", "gur")
    of_parts = given.index("--propagate-from"), given.index("--method", given.index("--propagate-from"))
    assert train_program.main([*given[: of_parts[0]], *given[of_parts[1] :], *off]) == 2
    assert "epoch 0: no stage trained anything (stages: modalities). Switch a part" in capsys.readouterr().err


def test_a_test_finds_the_images_of_the_run(flags, tmp_path, monkeypatch, capsys):
    assert train_program.main(flags("sysu", "--method", "baseline", "--epochs", "1")) == 0
    monkeypatch.chdir(tmp_path)  # where there is no data/sysu
    where = ["--logs-dir", str(tmp_path / "run"), "--cache-dir", str(tmp_path / "cache")]
    assert test_program.main(["-d", "sysu", *where, "--device", "cpu", "--report", "none"]) == 0
    assert ", as in training" in capsys.readouterr().out
