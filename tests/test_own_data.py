"""The real commands on a researcher's own images: with identities, without them, and with too few of them."""

import json
import os
import subprocess
import sys

import pytest
import torch
from helpers import raw_trees
from helpers.small_runs import ROOT, SMALL, rows, small, state

from sdcl import test as test_program
from sdcl import train as train_program
from sdcl.cli import doctor, embed, export, report
from sdcl.inference.embeddings import load_embeddings

BY_IDENTITY = {"ari", "purity", "true_identities"}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """The same six people to train on as two folders, as a table without identities, and as one with
    them; two people to test in both.
    """
    root = raw_trees.own(tmp_path_factory.mktemp("place") / "own", train=range(1, 7), test=(7, 8), images=4)
    header, *lines = (root / "images.csv").read_text().splitlines()
    nameless = [
        ",".join([*cells[:3], "", ""]) if not (cells := line.split(","))[4] else line for line in lines
    ]
    (root / "nameless.csv").write_text("\n".join([header, *nameless]) + "\n")
    (root / "images.csv").rename(root / "named.csv")
    return root


@pytest.fixture
def line(place, tmp_path):
    """Flags that say where: of the data (the two folders, or a table) and of the run."""

    def make(data="", *more):
        where = [
            "--data-dir",
            place / data,
            "--logs-dir",
            tmp_path / "run",
            "--cache-dir",
            tmp_path / "cache",
        ]
        return [str(word) for word in ["-d", "own", *where, *more]]

    return make


def test_two_folders_without_any_identity(line, place, tmp_path, capsys):
    assert train_program.main(line("", *SMALL)) == 0
    said = capsys.readouterr().out
    assert (
        "64 visible images of 2 cameras and 32 infrared images of 1 camera" in said
        and "no labelled test image" in said
    )
    assert "64 of 64 visible and 32 of 32 infrared training images have no identity" in said
    for row in rows(tmp_path / "run"):
        assert "test" not in row and not any(BY_IDENTITY & labels.keys() for labels in row["labels"].values())
        assert all(
            {"clusters", "outliers", "camera_purity"} <= labels.keys() for labels in row["labels"].values()
        )
    assert test_program.main(line()) == 2
    error = capsys.readouterr().err
    assert "no labelled test image" in error and "path,camera,modality[,identity][,split]" in error
    assert not (tmp_path / "run/test.json").exists()
    assert report.main([str(tmp_path / "run")]) == 0
    page = (tmp_path / "run/report.html").read_text()
    assert (
        "no labelled test image" in page
        and "Rand index (" not in page
        and "Clusters" in page
        and "purity 1.00" not in page
    )
    night = [
        "--weights",
        tmp_path / "run",
        "--images",
        place / "infrared",
        "--modality",
        "infrared",
        "--out",
        tmp_path / "night.npz",
    ]
    assert embed.main([*map(str, night), "--device", "cpu"]) == 0
    assert len(load_embeddings(tmp_path / "night.npz").paths) == 32
    card = ["--weights", tmp_path / "run", "--out", tmp_path / "export", "--format", "safetensors"]
    assert export.main([*map(str, card)]) == 0
    assert "no labelled test image" in (tmp_path / "export/MODEL_CARD.md").read_text()


def test_a_table_with_identities_and_the_same_weights_without(line, tmp_path, capsys):
    assert train_program.main(line("named.csv", *SMALL)) == 0
    named, weights = rows(tmp_path / "run"), state(tmp_path / "run")
    assert all(labels.keys() >= BY_IDENTITY for row in named for labels in row["labels"].values())
    assert named[0]["labels"]["visible"]["true_identities"] == 6
    assert test_program.main(line("named.csv")) == 0
    shown = json.loads((tmp_path / "run/test.json").read_text())
    protocol = "own data, all images against all of the other modality"
    assert [(r["protocol"], r["direction"], r["gallery_size"], r["num_queries"]) for r in shown] == [
        (protocol, "visible to infrared", 8, 16), (protocol, "infrared to visible", 16, 8),
    ]  # fmt: skip
    assert shown[0]["mAP"] == pytest.approx(named[-1]["test"][0]["mAP"])
    assert report.main([str(tmp_path / "run")]) == 0
    page = (tmp_path / "run/report.html").read_text()
    assert "Not on this page" not in page and "All test images." in page and "Rand index (" in page

    more = ["--logs-dir", str(tmp_path / "nameless")]
    assert train_program.main([*line("nameless.csv", *SMALL), *more]) == 0
    assert all(torch.equal(value, weights[name]) for name, value in state(tmp_path / "nameless").items())
    for with_, without in zip(named, rows(tmp_path / "nameless"), strict=True):
        assert with_["test"] == without["test"] and with_["losses"] == without["losses"]
        kept = {
            name: {k: v for k, v in labels.items() if k not in BY_IDENTITY}
            for name, labels in with_["labels"].items()
        }
        assert kept == without["labels"]
    assert report.main([str(tmp_path / "nameless")]) == 0
    page = (tmp_path / "nameless/report.html").read_text()
    assert "have no identity" in page and "All test images." in page


@pytest.mark.parametrize(
    "method,stage", [("gur", "cameras_1_3"), ("adca", "aggregated"), ("baseline", "contrast")]
)
def test_the_other_methods(line, tmp_path, method, stage):
    assert train_program.main(line("nameless.csv", *small(method))) == 0
    trained = rows(tmp_path / "run")
    assert any(stage in row["iterations"] for row in trained) and len(trained[-1]["test"]) == 2


@pytest.mark.long
def test_the_example_scripts(line, tmp_path):
    environment = {
        **os.environ,
        "GPUS": "1",
        "PYTHON": sys.executable,
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
    }
    for name, more in (("train", [*SMALL, "--epochs", "1"]), ("test", [])):
        command = ["sh", str(ROOT / f"examples/{name}_own_data.sh"), *line("named.csv", *more)[2:]]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "infrared to visible" in done.stdout


def test_what_too_few_images_say(tmp_path, capsys):
    where = ["--logs-dir", str(tmp_path / "run"), "--cache-dir", str(tmp_path / "cache"), *SMALL]
    few = raw_trees.own(tmp_path / "few", train=(1,), test=(), images=2)
    assert train_program.main(["-d", "own", "--data-dir", str(few), *where]) == 2
    assert "2 infrared images to train on; at least 4" in capsys.readouterr().err
    few = raw_trees.own(tmp_path / "more", train=(1, 2, 3, 4), test=(), images=2)
    assert train_program.main(["-d", "own", "--data-dir", str(few), *where, "--min-samples", "9"]) == 2
    error = capsys.readouterr().err
    assert (
        "0 cluster(s) among 16 visible images" in error
        and "So few images need shorter lists: try --k1 4 --k2 2" in error
    )
    assert (
        doctor.main(["-d", "own", "--data-dir", str(few), *where, "--no-timing"]) == 1
    )  # a warning: it can be tried
    assert "modalities have fewer training images than four rank lists" in capsys.readouterr().out
