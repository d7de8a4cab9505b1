"""A new data set is one file and one registry entry: everything else works with it as it stands."""

import json
from pathlib import Path

import numpy as np
import pytest
from helpers import raw_trees, twilight
from helpers.small_runs import small

from sdcl import test as test_program
from sdcl import train as train_program
from sdcl.cli import doctor, report
from sdcl.datasets import DATASETS, open_dataset
from sdcl.datasets.prepare import main as prepare
from sdcl.evaluation import evaluate

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def root(tmp_path, monkeypatch):
    """The data set as downloaded, and its entry in the registry."""
    monkeypatch.setitem(DATASETS, "twilight", twilight.SOURCE)
    for split, identities in (("train", range(1, 7)), ("test", (7, 8))):
        (tmp_path / "raw").mkdir(exist_ok=True)
        (tmp_path / "raw" / f"{split}_id.txt").write_text(",".join(map(str, identities)))
        for person in identities:
            for camera in (1, 2, 3):
                for n in range(3):
                    path = tmp_path / "raw" / split / f"cam{camera}" / f"{person:04d}" / f"{n:04d}.jpg"
                    raw_trees.picture(path, person, (camera, n), camera == 3)
    return tmp_path / "raw"


def test_it_is_read_verified_and_prepared(root, tmp_path, capsys):
    raw = open_dataset("twilight", root)
    assert raw.complete and not raw.synthetic and raw.trial is None and raw.notices == ()
    assert {m: len(samples) for m, samples in raw.train.items()} == {"visible": 36, "infrared": 18}
    assert prepare(["twilight", "--data-dir", str(root), "--out", str(tmp_path / "out")]) == 0
    prepared = open_dataset("twilight", tmp_path / "out")
    for a, b in ((raw.train, prepared.train), (raw.test, prepared.test)):
        for m in a:
            assert [(s.identity, s.camera) for s in a[m]] == [(s.identity, s.camera) for s in b[m]]
    next((root / "test/cam1/0007").iterdir()).unlink()
    assert prepare(["twilight", "--data-dir", str(root)]) == 2
    assert "test visible: expected 12, found 11" in capsys.readouterr().err


def test_its_protocol_is_evaluated(root):
    """Camera 2 alone can be found, and person 8 has the features of person 7 there."""
    dataset = open_dataset("twilight", root)
    features = {}
    for m, samples in dataset.test.items():
        swapped = [s.camera == 2 and s.identity == 8 for s in samples]
        rows = np.eye(2, dtype=np.float32)[
            [0 if wrong else s.identity - 7 for s, wrong in zip(samples, swapped)]
        ]
        features[m] = rows
    (result,) = evaluate(features, dataset.test, dataset.protocols())
    assert (result.protocol, result.direction, result.gallery_size) == ("Twilight", "infrared to visible", 12)
    assert result.metrics.r1 == 0.5 and result.metrics.num_valid == 6  # 7 is found, 8 ranks behind 7


@pytest.mark.long
def test_every_program_knows_it(root, tmp_path, capsys):
    places = [
        "--data-dir",
        str(root),
        "--cache-dir",
        str(tmp_path / "cache"),
        "--logs-dir",
        str(tmp_path / "run"),
    ]
    flags = ["-d", "twilight", *places]
    assert train_program.main([*flags, *small("baseline", "twilight"), "--epochs", "1", "--iters", "1"]) == 0
    (row,) = map(json.loads, (tmp_path / "run/metrics.jsonl").read_text().splitlines())
    assert [r["protocol"] for r in row["test"]] == ["Twilight"]
    assert test_program.main([*flags, "--method", "baseline", "--device", "cpu", "--precision", "fp32"]) == 0
    assert json.loads((tmp_path / "run/test.json").read_text())[0]["mAP"] == pytest.approx(
        row["test"][0]["mAP"]
    )
    assert report.main([str(tmp_path / "run")]) == 0
    page = (tmp_path / "run/report.html").read_text()
    assert "All visible test images but those of the doorway." in page
    capsys.readouterr()
    assert (
        doctor.main([*flags, "-a", "vit_mini", "--pretrained", "none", "--no-timing"]) == 1
    )  # random weights
    assert "verdict: usable" in capsys.readouterr().out


def test_the_documentation_shows_this_file():
    (page,) = [p for p in DOCS.iterdir() if p.name.lower() == "extending.md"]
    block = page.read_text().partition("+++ b/sdcl/datasets/twilight.py\n")[2].partition("\n--- ")[0]
    shown = [line[1:] for line in block.splitlines() if line.startswith("+")]
    assert shown == Path(twilight.__file__).read_text().splitlines()
