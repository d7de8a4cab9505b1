"""LLCM: its raw layout, its draws, what can be wrong with it, and a run of the real commands on it."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import raw_trees
from helpers.small_runs import ROOT, rows, small

from sdcl import test as test_program
from sdcl import train as train_program
from sdcl.config import resolve
from sdcl.datasets import llcm, open_dataset
from sdcl.datasets.prepare import main
from sdcl.synthetic import dataset as synthetic


@pytest.fixture
def root(tmp_path):
    return raw_trees.llcm(tmp_path / "raw")


def test_cameras_and_identities_are_read_from_lists_and_folders(root):
    train, test = open_dataset("llcm", root).train, open_dataset("llcm", root).test
    for samples, identities in ((train, {0, 1, 2}), (test, {1, 9})):
        for modality, cameras in (("visible", {1, 2, 3}), ("infrared", {1, 2})):
            assert {s.identity for s in samples[modality]} == identities and {
                s.camera for s in samples[modality]
            } == cameras
            for s in samples[modality]:
                assert f"_c{s.camera:02d}_" in s.path and ("nir" in Path(s.path).name) == (
                    modality == "infrared"
                )
    assert {Path(s.path).parent.name for s in train["visible"] if s.identity == 1} == {
        "0005"
    }  # labels count 2, 5, 7
    assert [
        llcm.camera_of(n)
        for n in ("vis/cam9/0001/0001.jpg", "cam4/1.jpg", "nir/0001/0001_c02_s1_f7.jpg", "nir/0001/7.jpg")
    ] == [9, 4, 2, None]


def test_draws_are_those_of_the_released_code(root):
    """DEEN's: random.seed(trial); for id in sorted ids, for camera:
    random.choice(sorted(os.listdir(folder))).
    """
    samples = open_dataset("llcm", root).test
    for modality, word in llcm.WORDS.items():
        for trial in range(3):
            random.seed(trial)
            folders = [
                root / f"test_{word}" / f"cam{c}" / i
                for i in ("0001", "0009")
                for c in llcm.CAMERAS[modality]
            ]
            expected = [str(f / random.choice(sorted(os.listdir(f)))) for f in folders if f.is_dir()]
            random.seed(7)
            state = random.getstate()
            assert [samples[modality][row].path for row in llcm.draw(samples[modality], trial)] == expected
            assert random.getstate() == state


def test_real_counts_cameras_and_people_are_verified(root, capsys):
    (root / "synthetic.json").unlink()  # now it claims to be the real LLCM
    shared = root / "vis/0009/0009_c12_s1_f1_vis.jpg"
    raw_trees.picture(shared, 9, (1, 1))
    with open(root / "idx/train_vis.txt", "a") as file:
        file.write("vis/0009/0009_c12_s1_f1_vis.jpg 3\n")
    assert main(["llcm", "--data-dir", str(root)]) == 2
    error = capsys.readouterr().err
    for part in (
        "713",
        "16,946",
        "13,975",
        "351",
        "8,680",
        "7,166",
        "visible images of camera 12",
        "people are in the training",
        "0009",
    ):
        assert part in error, part
    assert main(["llcm", "--data-dir", str(root), "--allow-incomplete"]) == 0


def test_bad_input_is_named(root):
    (root / "idx/test_id.txt").write_text("1,9,12\n")
    with pytest.raises(ValueError, match=r"test_id\.txt have no image: 0012"):
        open_dataset("llcm", root)
    (root / "idx/test_id.txt").write_text("one\n")
    with pytest.raises(ValueError, match=r"test_id\.txt, line 1"):
        open_dataset("llcm", root)
    path = root / "idx/train_nir.txt"
    good = path.read_text()
    for line, said in (
        ("nir/0002/gone_c01_x.jpg 0", r"line 13: image .*gone_c01_x\.jpg is not there"),
        ("nir/0002/0001.jpg 0", r"line 13: nir/0002/0001\.jpg names no camera"),
        ("nir/0002/0002_c01_s1_f1_nir.jpg", "expected `path label`"),
    ):
        (root / "idx/test_id.txt").write_text("1,9\n")
        path.write_text(good + line + "\n")
        with pytest.raises(ValueError, match=said):
            open_dataset("llcm", root)
    path.unlink()
    with pytest.raises(ValueError, match=r"train_nir\.txt is missing; copy the idx folder"):
        open_dataset("llcm", root)
    with pytest.raises(ValueError, match=r"LLCM is not in .*test_nir"):
        open_dataset("llcm", root / "vis")


def test_rendered_people_in_this_layout(tmp_path):
    made = synthetic.build(tmp_path / "llcm", "llcm", identities=4, images_per_camera=1)["counts"]
    assert main(["llcm", "--data-dir", str(tmp_path / "llcm"), "--out", str(tmp_path / "out")]) == 0
    train, test = open_dataset("llcm", tmp_path / "out").train, open_dataset("llcm", tmp_path / "out").test
    for samples, split in ((train, "train"), (test, "test")):
        assert {m: len(s) for m, s in samples.items()} == {m: made[f"{split}_{m}"] for m in samples}
        assert 3 not in {s.camera for s in samples["infrared"]}


def test_default_folders():
    settings = resolve({"dataset": "llcm"})[0]
    assert (str(settings.run_dir), str(settings.data_dir)) == ("logs/sdcl_llcm", "data/llcm")


@pytest.mark.long
@pytest.mark.parametrize("method", ["sdcl", "gur"])
def test_train_and_test(tmp_path, method):
    """By the example scripts; GUR by the same ones, every pair of cameras of which is a stage."""
    data = raw_trees.llcm(tmp_path / "llcm", train=(1, 2, 3, 4, 5, 6), test=(7, 8), images=3)
    environment = {
        **os.environ,
        "GPUS": "1",
        "PYTHON": sys.executable,
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
    }
    places = [
        "--data-dir",
        data,
        "--logs-dir",
        tmp_path / "run",
        "--cache-dir",
        tmp_path / "cache",
        "--method",
        method,
    ]

    def call(name, *flags):
        done = subprocess.run(
            ["sh", ROOT / "examples" / name, *map(str, flags)],
            capture_output=True,
            text=True,
            check=False,
            env=environment,
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
        return done.stdout

    call("train_sdcl_llcm.sh", *places, *small(method))
    epochs = rows(tmp_path / "run")
    assert epochs[1]["stage"] == {"sdcl": "unified", "gur": "joint"}[method]
    if method == "gur":
        assert [n for n in epochs[0]["iterations"] if n.startswith("cameras")] == [
            f"cameras_{v}_{i}" for v in (1, 2, 3) for i in (1, 2)
        ]
    shown = call("test_sdcl_llcm.sh", *places, "--device", "cpu", "--precision", "fp32")
    assert (
        "LLCM drawn gallery, 10 seeded draws" in shown
        and "drawn queries (visible to infrared of the released code)" in shown
    )
    tested = json.loads((tmp_path / "run/test.json").read_text())
    assert [r["direction"] for r in tested] == [
        "visible to infrared",
        "infrared to visible",
        "infrared to visible",
    ]
    assert [r["mAP"] for r in tested] == pytest.approx([r["mAP"] for r in epochs[1]["test"]])
    assert all(len(r["per_draw"]) == 10 for r in tested)


def test_refusals_name_the_data_set(root, tmp_path, capsys):
    logs = ["--logs-dir", str(tmp_path / "run")]
    assert (
        train_program.main(["-d", "llcm", "--data-dir", str(tmp_path / "none"), "--device", "cpu", *logs])
        == 2
    )
    assert "put LLCM there" in capsys.readouterr().err
    assert (
        test_program.main(
            ["-d", "llcm", "--data-dir", str(root), "--logs-dir", str(tmp_path / "empty"), "--device", "cpu"]
        )
        == 2
    )
    assert "no checkpoint at" in capsys.readouterr().err
