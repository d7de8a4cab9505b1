"""Findings of `datasets/inspection.py`, each provoked on a tiny SYSU-MM01 tree."""

import os
import shutil

import numpy as np
import pytest
from helpers import raw_trees
from PIL import Image

from sdcl.datasets import inspection, open_dataset


@pytest.fixture
def tree(tmp_path):
    return raw_trees.sysu(tmp_path / "data")


def inspect(tree):
    """Severity and text of each finding."""
    dataset = open_dataset("sysu", tree, allow_incomplete=True)
    facts = inspection.read_facts(dataset, workers=2)
    findings = inspection.inspect_images(facts)
    findings += inspection.inspect_dataset(dataset, facts, k1=2, allow_incomplete=False)
    return [(f.severity, f"{f.what} {' '.join(f.where)}") for f in findings]


def has(findings, severity, *parts):
    return any(s == severity and all(part in text for part in parts) for s, text in findings)


def test_a_sound_tree_has_no_finding(tree):
    assert inspect(tree) == []


def test_errors(tree):
    folder = tree / "cam1" / "0002"
    (folder / "0001.jpg").write_bytes(b"")
    (folder / "0002.jpg").write_bytes((tree / "cam2" / "0002" / "0001.jpg").read_bytes()[:300])
    leaked = tree / "cam4" / "0001" / "0001.jpg"  # a training image in the test split
    shutil.copy(tree / "cam4" / "0007" / "0001.jpg", leaked)
    (tree / "exp" / "test_id.txt").write_text("1,9,7")
    (tree / "cam6" / "0009" / "0002.jpg").unlink()
    findings = inspect(tree)
    assert has(findings, "error", "2 images cannot be decoded", "cam1/0002/0001.jpg: empty file", "0002.jpg")
    assert has(findings, "error", "in both the training and the test split, by content")
    assert has(findings, "error", "identity 7")
    assert has(findings, "error", "differences")


def test_warnings(tree, tmp_path):
    folder = tree / "cam1" / "0002"
    shutil.copy(tree / "cam1" / "0007" / "0001.jpg", folder / "0001.jpg")
    shutil.copy(tree / "cam2" / "0002" / "0001.jpg", tree / "cam2" / "0002" / "0002.jpg")
    os.replace(folder / "0002.jpg", tmp_path / "away.jpg")
    (folder / "new\nline.jpg").symlink_to(tmp_path / "away.jpg")
    Image.new("RGB", (5, 9)).save(tree / "cam4" / "0002" / "0001.jpg")
    Image.new("RGB", (90, 20)).save(tree / "cam4" / "0002" / "0002.jpg")
    Image.new("RGB", (20, 40), "red").save(tree / "cam5" / "0002" / "0001.jpg", format="PNG")
    findings = inspect(tree)
    assert {severity for severity, _ in findings} == {"warning"}
    for parts in (
        ("several identities",),
        ("several times under one identity, by content",),
        ("symbolic links",),
        ("line breaks", "\\n"),
        ("smaller than",),
        ("aspect ratio of a standing",),
        ("is PNG",),
    ):
        assert has(findings, "warning", *parts), parts


def test_cameras_of_the_other_modality(tree):
    for camera, colour in ((3, (200, 40, 90)), (1, (90, 90, 90))):
        for n, path in enumerate(sorted((tree / f"cam{camera}").rglob("*.jpg"))):
            Image.new("RGB", (20, 40), tuple(c + n for c in colour)).save(path)
    findings = inspect(tree)
    assert has(findings, "error", "infrared cameras", "camera 3")
    assert has(findings, "error", "visible cameras", "camera 1")


def test_a_decompression_bomb_is_not_decoded(tree, monkeypatch):
    monkeypatch.setattr(inspection, "MAX_PIXELS", 900)
    Image.fromarray(np.zeros((40, 30), np.uint8)).save(tree / "cam3" / "0002" / "0001.jpg")
    assert has(inspect(tree), "error", "decompression bomb", "cam3/0002/0001.jpg")
