"""Every finding of the doctor, provoked on tiny trees."""

import json
import os
import shutil

import numpy as np
import pytest
import torch
from helpers import raw_trees
from PIL import Image

from sdcl.cli import doctor

SMALL = ["-a", "vit_mini", "--height", "96", "--width", "48", "-j", "2"]


@pytest.fixture
def tree(tmp_path):
    return raw_trees.sysu(tmp_path / "data")


def examine(tree, tmp_path, *more, dataset="sysu"):
    """Exit code, and severity and text of each finding."""
    said = [
        "-d",
        dataset,
        "--data-dir",
        str(tree),
        "--cache-dir",
        str(tmp_path / "c"),
        *SMALL,
        *more,
        "--json",
        str(tmp_path / "found.json"),
    ]
    code = doctor.main(said)
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["exit_code"] == code
    return code, [(f["severity"], f"{f['what']} {f['where']}") for f in found["findings"]]


def has(found, severity, *words):
    return any(s == severity and all(w in text for w in words) for s, text in found)


def test_fine_tree(tree, tmp_path, capsys):
    code, found = examine(tree, tmp_path)
    assert code == 0, found
    assert (
        "verdict: fine" in capsys.readouterr().out
        and has(found, "note", "synthetic")
        and has(found, "note", "torch")
    )


def test_errors(tree, tmp_path):
    first = tree / "cam1" / "0002"
    (first / "0001.jpg").write_bytes(b"")
    (first / "0002.jpg").write_bytes((tree / "cam2" / "0002" / "0001.jpg").read_bytes()[:300])
    shutil.copy(
        tree / "cam4" / "0007" / "0001.jpg", tree / "cam4" / "0001" / "0001.jpg"
    )  # training image in the test split
    (tree / "exp" / "test_id.txt").write_text("1,9,7")
    (tree / "cam6" / "0009" / "0002.jpg").unlink()
    code, found = examine(tree, tmp_path)
    assert code == 2
    assert has(found, "error", "2 images cannot be decoded", "cam1/0002/0001.jpg: empty file", "0002.jpg")
    assert (
        has(found, "error", "in both the training and the test split, by content")
        and has(found, "error", "identity 7")
        and has(found, "error", "differences")
    )


def test_warnings(tree, tmp_path):
    folder = tree / "cam1" / "0002"
    shutil.copy(tree / "cam1" / "0007" / "0001.jpg", folder / "0001.jpg")
    shutil.copy(tree / "cam2" / "0002" / "0001.jpg", tree / "cam2" / "0002" / "0002.jpg")
    os.replace(folder / "0002.jpg", tmp_path / "away.jpg")
    (folder / "new\nline.jpg").symlink_to(tmp_path / "away.jpg")
    Image.new("RGB", (5, 9)).save(tree / "cam4" / "0002" / "0001.jpg")
    Image.new("RGB", (90, 20)).save(tree / "cam4" / "0002" / "0002.jpg")
    Image.new("RGB", (20, 40), "red").save(tree / "cam5" / "0002" / "0001.jpg", format="PNG")
    code, found = examine(tree, tmp_path)
    assert code == 1, found
    assert has(found, "warning", "several identities") and has(
        found, "warning", "several times under one identity, by content"
    )
    assert has(found, "warning", "symbolic links") and has(found, "warning", "line breaks", "\\n")
    assert (
        has(found, "warning", "smaller than")
        and has(found, "warning", "aspect ratio of a standing")
        and has(found, "warning", "is PNG")
    )


def test_cameras_of_the_other_modality(tree, tmp_path):
    for camera, colour in ((3, (200, 40, 90)), (1, (90, 90, 90))):
        for n, path in enumerate(sorted((tree / f"cam{camera}").rglob("*.jpg"))):
            Image.new("RGB", (20, 40), tuple(c + n for c in colour)).save(path)
    code, found = examine(tree, tmp_path)
    assert (
        code == 2
        and has(found, "error", "infrared cameras", "camera 3")
        and has(found, "error", "visible cameras", "camera 1")
    )


def test_decompression_bomb(tree, tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "MAX_PIXELS", 900)
    Image.fromarray(np.zeros((40, 30), np.uint8)).save(tree / "cam3" / "0002" / "0001.jpg")
    code, found = examine(tree, tmp_path)
    assert code == 2 and has(found, "error", "decompression bomb", "cam3/0002/0001.jpg")


class Malicious:
    def __reduce__(self):
        return (open, ("pwned", "w"))


def test_weights(tree, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": Malicious()}, "evil.pth")
    code, found = examine(tree, tmp_path, "--weights", "evil.pth")
    assert code == 2 and has(found, "error", "evil.pth", "not opened") and not (tmp_path / "pwned").exists()
    assert examine(tree, tmp_path, "--weights", "none")[0] == 1


def test_regdb_and_nothing_there(tmp_path):
    tree = raw_trees.regdb(tmp_path / "r", trials=(1,))
    assert not has(examine(tree, tmp_path, dataset="regdb")[1], "error", "split")
    code, found = examine(tmp_path / "nowhere", tmp_path)
    assert code == 2 and has(found, "error", "no data folder")
    assert doctor.main(["--epochs", "0"]) == 2


def test_the_cost_is_estimated_from_the_recipe(tmp_path, capsys):
    root = raw_trees.sysu(tmp_path / "sysu", train=(1, 2), val=(3,), test=(4,), images=2)
    small = [
        "-d",
        "sysu",
        "--data-dir",
        str(root),
        "-a",
        "vit_mini",
        "--height",
        "32",
        "--width",
        "16",
        "--device",
        "cpu",
    ]
    found = []
    for more in (
        [],
        ["--epochs", "5000"],
        ["--no-timing"],
        ["--method", "gur", "--no-shallow", "-a", "resnet_mini", "--pretrained", "none"],
    ):
        assert doctor.main([*small, *more]) in (0, 1, 2)
        found.append(capsys.readouterr().out)
    assert "50 epochs of 200 steps of 384 images" in found[0] and "GB of activations" in found[0]
    assert "5000 epochs" in found[1] and "model arithmetic" not in found[2]
    assert "50 epochs of 800 steps of 512 images" in found[3]  # 8 pairs of cameras x 50, and twice 200
