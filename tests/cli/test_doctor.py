"""`sdcl doctor` as a user calls it: exit codes, weights,
machine and cost (the images: test_inspection.py).
"""

import json
import shutil

import pytest
import torch
from helpers import raw_trees

from sdcl.cli import doctor

SMALL = ["-a", "vit_mini", "--height", "96", "--width", "48", "-j", "2"]


@pytest.fixture
def tree(tmp_path):
    return raw_trees.sysu(tmp_path / "data")


def examine(tree, tmp_path, *more, dataset="sysu"):
    """Exit code, and severity and text of each finding."""
    target = tmp_path / "findings.json"
    paths = ["--data-dir", str(tree), "--cache-dir", str(tmp_path / "c"), "--json", str(target)]
    code = doctor.main(["-d", dataset, *paths, *SMALL, *more])
    result = json.loads(target.read_text())
    assert result["exit_code"] == code
    return code, [(f["severity"], f"{f['what']} {f['where']}") for f in result["findings"]]


def has(findings, severity, *parts):
    return any(s == severity and all(part in text for part in parts) for s, text in findings)


def test_fine_tree(tree, tmp_path, capsys):
    code, findings = examine(tree, tmp_path)
    assert code == 0, findings
    assert "verdict: fine" in capsys.readouterr().out
    assert has(findings, "note", "synthetic") and has(findings, "note", "torch")


def test_findings_of_the_images_decide_the_exit_code(tree, tmp_path):
    copy = tree / "cam2" / "0002" / "0002.jpg"
    shutil.copy(tree / "cam2" / "0002" / "0001.jpg", copy)
    code, findings = examine(tree, tmp_path, "--no-timing")
    assert code == 1 and has(findings, "warning", "several times under one identity", "0002.jpg")
    copy.write_bytes(b"")
    code, findings = examine(tree, tmp_path, "--no-timing")
    assert code == 2 and has(
        findings, "error", "1 images cannot be decoded", "cam2/0002/0002.jpg: empty file"
    )


def test_an_empty_data_set_is_an_error(tree, tmp_path):
    for path in tree.rglob("*.jpg"):
        path.unlink()
    code, findings = examine(tree, tmp_path, "--no-timing")
    assert (
        code == 2 and has(findings, "error", "no image is listed") and has(findings, "error", "differences")
    )


class Malicious:
    def __reduce__(self):
        return (open, ("pwned", "w"))


def test_weights(tree, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": Malicious()}, "evil.pth")
    code, findings = examine(tree, tmp_path, "--weights", "evil.pth")
    assert (
        code == 2 and has(findings, "error", "evil.pth", "not opened") and not (tmp_path / "pwned").exists()
    )
    assert examine(tree, tmp_path, "--weights", "none")[0] == 1


def test_a_search_that_faiss_cannot_do(monkeypatch):
    """faiss missing is an error; faiss without its GPU part beside a GPU is a remark."""
    pytest.importorskip("faiss", reason="faiss is an extra; the torch search is the default")
    assert doctor.examine_search("faiss") == doctor.examine_search("torch") == []
    monkeypatch.setattr(doctor.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(doctor.neighbors_faiss, "has_gpu_part", lambda faiss: False)
    (note,) = doctor.examine_search("faiss")
    assert note.severity == doctor.NOTE and "searches on the CPU" in note.what
    monkeypatch.setattr(doctor.neighbors_faiss.importlib.util, "find_spec", lambda name: None)
    (error,) = doctor.examine_search("faiss-ivf")
    assert (
        error.severity == doctor.ERROR and "--knn faiss-ivf" in error.what and "sdcl[faiss]" in error.remedy
    )
    assert doctor.examine_search("torch") == []


def test_regdb_and_nothing_there(tmp_path):
    tree = raw_trees.regdb(tmp_path / "r", trials=(1,))
    assert not has(examine(tree, tmp_path, dataset="regdb")[1], "error", "split")
    code, findings = examine(tmp_path / "nowhere", tmp_path)
    assert code == 2 and has(findings, "error", "no data folder")
    assert doctor.main(["--epochs", "0"]) == 2


def test_the_cost_is_estimated_from_the_recipe(tmp_path, capsys):
    root = raw_trees.sysu(tmp_path / "sysu", train=(1, 2), val=(3,), test=(4,), images=2)
    size = ["-a", "vit_mini", "--height", "32", "--width", "16", "--device", "cpu"]
    flags = ["-d", "sysu", "--data-dir", str(root), *size]
    printed = []
    for more in (
        [],
        ["--epochs", "5000"],
        ["--no-timing"],
        ["--method", "gur", "--no-shallow", "-a", "resnet_mini", "--pretrained", "none"],
    ):
        assert doctor.main([*flags, *more]) in (0, 1, 2)
        printed.append(capsys.readouterr().out)
    assert "50 epochs of 200 steps of 384 images" in printed[0] and "GB of activations" in printed[0]
    assert "5000 epochs" in printed[1] and "model arithmetic" not in printed[2]
    assert "50 epochs of 800 steps of 512 images" in printed[3]  # 8 pairs of cameras x 50, and twice 200
