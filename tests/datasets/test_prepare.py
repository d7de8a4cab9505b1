"""Raw and prepared layouts, verification, and every way in which data can be wrong."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import parity, raw_trees

from sdcl.datasets import DATASETS, open_dataset, sysu
from sdcl.datasets import prepare as prepare_module
from sdcl.datasets.prepare import main
from sdcl.datasets.sample import Sample
from sdcl.runtime.errors import DataError

ROOT = Path(__file__).parents[2]
MAKE = {"sysu": raw_trees.sysu, "regdb": raw_trees.regdb, "llcm": raw_trees.llcm}


def content(split):
    return {
        m: [(s.identity, s.camera, s.modality, Path(s.path).read_bytes()) for s in rows]
        for m, rows in split.items()
    }


def contents(dataset):
    return [content(dataset.train), content(dataset.test)]


def prepared(kind, root, *flags):
    return main([kind, "--data-dir", str(root), *flags])


@pytest.mark.parametrize("kind", MAKE)
@pytest.mark.parametrize("trial", [1, 4])
def test_both_layouts_give_the_same_samples(tmp_path, kind, trial, capsys):
    root = MAKE[kind](tmp_path / "raw")
    raw = contents(open_dataset(kind, root, trial=trial))
    assert prepared(kind, root, "--out", str(tmp_path / "out")) == 0
    assert raw == contents(open_dataset(kind, tmp_path / "out", trial=trial)) and all(
        rows for split in raw for rows in split.values()
    )
    for folder in (tmp_path / "out", root):
        dataset = open_dataset(kind, folder)
        assert dataset.synthetic and dataset.complete and any("synthetic" in line for line in dataset.notices)
        assert (dataset.name, dataset.title, dataset.trial) == (
            kind,
            DATASETS[kind].title,
            1 if kind == "regdb" else None,
        )


@pytest.mark.parametrize("kind", MAKE)
def test_the_layout_of_the_family(tmp_path, kind):
    root = MAKE[kind](tmp_path / "raw", images=6)
    assert prepared(kind, root) == 0
    base = root / "rgb_modify" / ("3" if kind == "regdb" else "")
    assert sorted(p.name for p in base.iterdir()) == ["bounding_box_test", "bounding_box_train", "query"]
    names = sorted(p.name for p in (base / "query").iterdir())
    for identity in {n[:4] for n in names}:
        test = sorted(p.name for p in (base / "bounding_box_test").glob(f"{identity}_*"))
        assert [n for n in names if n[:4] == identity] == test[:4]


@pytest.mark.parametrize("mode", ["link", "copy"])
def test_repeatable_and_raw_files_untouched(tmp_path, mode, capsys):
    root = raw_trees.sysu(tmp_path / "raw")
    before = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in root.rglob("*") if p.is_file()}
    out = tmp_path / "out"
    assert prepared("sysu", root, "--out", str(out), "--mode", mode) == 0
    target = next((out / "ir_modify/bounding_box_train").iterdir())
    assert (target.stat().st_nlink > 1) == (mode == "link")
    stamps = {p: p.stat().st_ctime_ns for p in out.rglob("*")}
    capsys.readouterr()
    assert prepared("sysu", root, "--out", str(out), "--mode", mode) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert stamps == {p: p.stat().st_ctime_ns for p in out.rglob("*")}
    assert before == {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in root.rglob("*") if p.is_file()}


def test_an_interrupted_or_damaged_preparation_is_noticed_and_mended(tmp_path, capsys):
    root = raw_trees.sysu(tmp_path / "raw")
    out = tmp_path / "out"
    prepared("sysu", root, "--out", str(out))
    victim = next((out / "rgb_modify/bounding_box_train").iterdir())
    victim.unlink()
    (out / "rgb_modify/bounding_box_train/9999_c1_0001.jpg.tmp").write_bytes(b"")
    with pytest.raises(ValueError, match="changed since it was prepared"):
        open_dataset("sysu", out)
    assert prepared("sysu", root, "--out", str(out)) == 0 and victim.exists()
    assert not list(out.rglob("*.tmp"))
    open_dataset("sysu", out)


@pytest.mark.parametrize("kind", MAKE)
def test_order_does_not_depend_on_directory_listings(tmp_path, kind, monkeypatch):
    root = MAKE[kind](tmp_path / "raw")
    expected = open_dataset(kind, root)
    walk, shuffler = os.walk, random.Random(5)

    def shuffled(top, **options):
        for place, folders, files in walk(top, **options):
            shuffler.shuffle(folders)
            shuffler.shuffle(files)
            yield place, folders, files

    monkeypatch.setattr(os, "walk", shuffled)
    again = open_dataset(kind, root)
    assert (again.train, again.test) == (expected.train, expected.test)
    assert prepared(kind, root) == 0
    assert contents(open_dataset(kind, root)) == contents(expected)


def test_wrong_counts_are_refused_then_allowed_and_remembered(tmp_path, capsys):
    root = raw_trees.sysu(tmp_path / "raw")
    (root / "synthetic.json").unlink()  # now it claims to be the real SYSU-MM01
    assert prepared("sysu", root) == 2
    error = capsys.readouterr().err
    for part in ("expected 22,258, found 24", "11,909", "3,803", "395", "301", "cam3", "--allow-incomplete"):
        assert part in error, part
    with pytest.raises(ValueError, match="--allow-incomplete"):
        open_dataset("sysu", root)
    incomplete = open_dataset("sysu", root, allow_incomplete=True)
    assert len(incomplete.train["visible"]) == 24 and not (
        incomplete.complete or incomplete.accepted or incomplete.synthetic
    )
    assert prepared("sysu", root, "--allow-incomplete") == 0
    assert any(
        "--allow-incomplete" in line and "22,258" in line for line in open_dataset("sysu", root).notices
    )
    assert len(open_dataset("sysu", root).train["visible"]) == 24 and open_dataset("sysu", root).accepted
    (root / "prepared.json").unlink()
    assert any(
        "22,258" in line for line in open_dataset("sysu", root, allow_incomplete=True).notices
    )  # as of the raw layout


def test_stray_files_trials_and_interruptions(tmp_path, capsys):
    root = raw_trees.regdb(tmp_path / "raw")
    out = tmp_path / "out"
    assert prepared("regdb", root, "--out", str(out), "--trials", "1") == 0
    assert prepared("regdb", root, "--out", str(out), "--trials", "3") == 0
    assert content(open_dataset("regdb", out, trial=1).train) == content(
        open_dataset("regdb", root, trial=1).train
    )  # trial 1 is still there
    with pytest.raises(ValueError, match="--trials 2"):
        open_dataset("regdb", out, trial=2)
    stray = out / "rgb_modify/1/bounding_box_train/0009_c1_stray.bmp"
    stray.write_bytes(b"x")
    with pytest.raises(ValueError, match="prepare program again"):
        open_dataset("regdb", out, trial=1)
    capsys.readouterr()
    assert prepared("regdb", root, "--out", str(out), "--trials", "1") == 0 and not stray.exists()
    assert "removed: 1 files that do not belong to it, such as " in capsys.readouterr().out
    open_dataset("regdb", out, trial=1)
    stray.mkdir()
    assert prepared("regdb", root, "--out", str(out), "--trials", "1") == 2
    assert "is a folder among" in capsys.readouterr().err
    assert prepared("regdb", root) == 0  # beside the raw files, then interrupted before its end
    (root / "prepared.json").unlink()
    next((root / "rgb_modify/1/bounding_box_train").iterdir()).unlink()
    assert len(open_dataset("regdb", root, trial=1).train["visible"]) == 6


def test_nothing_of_others_is_removed(tmp_path, capsys):
    """Another data set that was prepared there, or files of which no manifest says that they are ours."""
    out, sysu, regdb = (
        tmp_path / "out",
        raw_trees.sysu(tmp_path / "sysu"),
        raw_trees.regdb(tmp_path / "regdb"),
    )
    assert prepared("sysu", sysu, "--out", str(out)) == 0
    before = sorted(out.rglob("*"))
    assert prepared("regdb", regdb, "--out", str(out)) == 2
    assert "holds SYSU-MM01, prepared; choose another --out for RegDB" in capsys.readouterr().err
    assert sorted(out.rglob("*")) == before
    (out / "prepared.json").unlink()
    (mine := out / "rgb_modify/bounding_box_train/0009_c1_mine.jpg").write_bytes(b"x")
    assert prepared("sysu", sysu, "--out", str(out)) == 2 and mine.exists()
    assert "has 1 files that `sdcl prepare` did not write" in capsys.readouterr().err


def test_an_interrupted_preparation_is_told(tmp_path, monkeypatch, capsys):
    root, out = raw_trees.regdb(tmp_path / "raw"), tmp_path / "out"
    assert prepared("regdb", root, "--out", str(out), "--trials", "3") == 0

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(prepare_module, "_link", stop)
        assert prepared("regdb", root, "--out", str(out), "--trials", "1", "2") == 130
    assert open_dataset("regdb", out, trial=3).synthetic  # prepared before: whole, and what it was
    with pytest.raises(DataError, match=r"was interrupted while it wrote .*; run it again"):
        open_dataset("regdb", out, trial=1)
    assert prepared("regdb", root, "--out", str(out), "--trials", "1", "2") == 0
    open_dataset("regdb", out, trial=2)


def test_regdb_lists_that_cannot_be_right(tmp_path, capsys):
    root = raw_trees.regdb(tmp_path / "raw")
    (root / "synthetic.json").unlink()
    lists = {n: root / f"idx/train_{n}_1.txt" for n in ("visible", "thermal")}
    texts = {n: path.read_text() for n, path in lists.items()}
    lists["visible"].write_text(texts["thermal"])
    lists["thermal"].write_text(texts["visible"])
    assert prepared("regdb", root, "--trials", "1") == 2
    assert "the visible training list names 6 thermal images, such as" in capsys.readouterr().err
    for name, text in texts.items():
        lists[name].write_text(text)
        for split in ("train", "test"):
            copy = (root / f"idx/{split}_{name}_1.txt").read_bytes()
            (root / f"idx/{split}_{name}_2.txt").write_bytes(copy)
    assert prepared("regdb", root, "--trials", "1", "2") == 2
    assert "trial 2: the training images are those of trial 1" in capsys.readouterr().err


def test_differences_of_one_trial_are_not_those_of_another(tmp_path):
    root, out = raw_trees.regdb(tmp_path / "raw"), tmp_path / "out"
    list_5 = root / "idx/test_visible_5.txt"
    list_5.write_text("".join(list_5.read_text().splitlines(keepends=True)[1:]))
    assert prepared("regdb", root, "--out", str(out), "--allow-incomplete") == 0
    assert not open_dataset("regdb", out, trial=1).differences
    assert open_dataset("regdb", out, trial=5).differences


def test_a_folder_that_is_not_there_is_one_line(tmp_path, capsys):
    root = raw_trees.regdb(tmp_path / "raw")
    (root / "Visible").rename(root / "visible_")
    assert prepared("regdb", root, "--trials", "1") == 2
    error = capsys.readouterr().err
    assert "6 images are listed in Visible, and there is no folder" in error and error.count("\n") < 30


def test_empty_images_and_a_byte_order_mark(tmp_path, capsys):
    root = raw_trees.sysu(tmp_path / "raw")
    ids = root / "exp/train_id.txt"
    ids.write_bytes(b"\xef\xbb\xbf" + ids.read_bytes())
    assert prepared("sysu", root, "--out", str(tmp_path / "out")) == 0
    image = next((root / "cam1").rglob("*.jpg"))
    image.write_bytes(b"")
    assert prepared("sysu", root, "--out", str(tmp_path / "other")) == 2
    assert "1 image files are empty, such as" in capsys.readouterr().err


def test_manifests_of_another_kind(tmp_path):
    root = raw_trees.sysu(tmp_path / "raw")
    for text, said in (
        ('{"layout": "regdb"}', "layout 'regdb'"),
        ('{"layout": "sysu"}', "lacks counts"),
        ("{", "cannot be read"),
    ):
        (root / "synthetic.json").write_text(text)
        with pytest.raises(ValueError, match=said):
            open_dataset("sysu", root)
    with pytest.raises(ValueError, match="-d market"):
        open_dataset("market", root)


def test_identity_without_images_is_named(tmp_path, capsys):
    root = raw_trees.sysu(tmp_path / "raw")
    for camera in (3, 6):
        for path in (root / f"cam{camera}" / "0005").iterdir():
            path.unlink()
    assert prepared("sysu", root) == 2
    assert "without any infrared image: 5" in capsys.readouterr().err
    (root / "synthetic.json").unlink()
    (root / "exp/val_id.txt").write_text("5,333")
    assert prepared("sysu", root) == 2
    assert "have no image: 0333" in capsys.readouterr().err


def test_missing_and_malformed_split_files(tmp_path):
    root = raw_trees.sysu(tmp_path / "raw")
    (root / "exp/test_id.txt").write_text("1,x9")
    with pytest.raises(ValueError, match=r"test_id\.txt, line 1"):
        open_dataset("sysu", root)
    (root / "exp/val_id.txt").unlink()
    with pytest.raises(ValueError, match=r"val_id\.txt is missing"):
        open_dataset("sysu", root)
    root = raw_trees.regdb(tmp_path / "regdb")
    good = (root / "idx/train_thermal_2.txt").read_text()
    twice = good.splitlines()[0]
    for line, said in (
        ("no label here", "line 7"),
        (twice, "line 1 already"),
        ("../../etc/passwd 0", "outside"),
        ("/etc/passwd 0", "outside"),
    ):
        (root / "idx/train_thermal_2.txt").write_text(good + line + "\n")
        with pytest.raises(ValueError, match=said):
            open_dataset("regdb", root, trial=2)
    (root / "idx/train_thermal_2.txt").write_text(good + "Visible/0/gone.bmp 0\n")
    with pytest.raises(ValueError, match=r"train_thermal_2\.txt, line 7: image .*gone\.bmp is not there"):
        open_dataset("regdb", root, trial=2)
    assert len(open_dataset("regdb", root, trial=2, allow_incomplete=True).train["infrared"]) == 6
    assert any(
        "gone.bmp" in line for line in open_dataset("regdb", root, trial=2, allow_incomplete=True).notices
    )
    (root / "idx/test_visible_3.txt").unlink()
    with pytest.raises(ValueError, match=r"test_visible_3\.txt is missing"):
        open_dataset("regdb", root, trial=3)


def test_places_without_data(tmp_path):
    with pytest.raises(ValueError, match=r"no data folder at .*nowhere.*--data-dir"):
        open_dataset("sysu", tmp_path / "nowhere")
    with pytest.raises(ValueError, match="SYSU-MM01 is not in"):
        open_dataset("sysu", tmp_path)
    with pytest.raises(ValueError, match="--trial"):
        open_dataset("regdb", raw_trees.regdb(tmp_path / "r"), trial=11)
    assert prepared("sysu", tmp_path / "nowhere") == 2


def test_regdb_people_in_both_splits_are_named(tmp_path):
    root = raw_trees.regdb(tmp_path / "raw")
    (root / "synthetic.json").unlink()
    (root / "idx/test_visible_1.txt").write_text((root / "idx/train_visible_1.txt").read_text())
    with pytest.raises(ValueError, match="in the training and in the test list"):
        open_dataset("regdb", root)


def test_the_programs_run(tmp_path):
    programs = {
        "sysu": [ROOT / "prepare_sysu.py"],
        "regdb": [ROOT / "prepare_regdb.py"],
        "llcm": ["-m", "sdcl.datasets.prepare", "llcm"],
    }
    for kind, program in programs.items():
        root = MAKE[kind](tmp_path / kind)
        done = subprocess.run(
            [sys.executable, *program, "--data-dir", root],
            capture_output=True,
            text=True,
            check=False,
            cwd=ROOT,
        )
        assert done.returncode == 0 and "Warning" not in done.stderr, done.stderr
        assert json.loads((root / "prepared.json").read_text())["dataset"] == DATASETS[kind].title
    bad = subprocess.run(
        [sys.executable, ROOT / "prepare_sysu.py", "--nonsense"], capture_output=True, text=True, check=False
    )
    assert bad.returncode == 2 and "--nonsense" in bad.stderr


# ------------------------------------------------------------------ gallery draws


@pytest.fixture
def released_draws(arrays, tmp_path):
    about = arrays.json()
    root = tmp_path / "gallery"
    for camera, folders in about["tree"].items():
        for identity, files in folders.items():
            for name in files:
                (root / camera / identity).mkdir(parents=True, exist_ok=True)
                (root / camera / identity / name).touch()
    (root / "exp").mkdir(parents=True, exist_ok=True)
    (root / "exp/test_id.txt").write_text(about["test_id_txt"])
    samples, absent = sysu.read(root, "test")
    listed = {int(identity) for identity in about["test_id_txt"].splitlines()[0].split(",")}
    assert len(absent) == len(
        listed - {int(identity) for folders in about["tree"].values() for identity in folders}
    )
    return about, root, samples


@parity.recorded("gallery_sysu")
@pytest.mark.parametrize("mode", ["all", "indoor"])
def test_released_gallery_and_queries(released_draws, mode):
    about, root, samples = released_draws
    for expected in about["gallery"][mode]:
        random.seed(123)
        state = random.getstate()
        rows = sysu.draw_gallery(samples["visible"], expected["trial"], mode)
        assert random.getstate() == state  # the global generator is left alone
        drawn = [samples["visible"][r] for r in rows]
        assert [os.path.relpath(s.path, root) for s in drawn] == expected["files"]
        assert [s.identity for s in drawn] == expected["ids"] and [s.camera for s in drawn] == expected[
            "cams"
        ]
    query = about["query"][mode]
    assert [os.path.relpath(s.path, root) for s in samples["infrared"]] == query["files"]


def people(images):
    return [
        Sample(f"/x/cam{c}/{i:04d}/{n:04d}.jpg", i, c, "visible")
        for i in (3, 8)
        for c in (1, 2, 4)
        for n in range(1, images + 1)
    ]


def test_multi_shot_takes_distinct_images_of_each_folder():
    samples = people(4)
    rows = sysu.draw_gallery(samples, 0, "all", shots=3)
    assert len(rows) == len(set(rows)) == 2 * 3 * 3
    assert len(sysu.draw_gallery(samples, 0, "all", shots=10)) == len(samples)
    assert rows != sysu.draw_gallery(samples, 1, "all", shots=3)
    assert {samples[r].camera for r in sysu.draw_gallery(samples, 0, "indoor", shots=3)} == {1, 2}


def test_official_permutations(tmp_path):
    from scipy.io import savemat

    assert sysu.load_permutations(tmp_path) is None
    outer = np.empty((6, 1), object)
    for camera in range(6):
        inner = np.empty((1, 9), object)
        for identity in range(9):
            inner[0, identity] = (
                np.array([[2, 1, 4, 3], [3, 4, 1, 2]]) if identity + 1 in (3, 8) else np.zeros((0, 0))
            )
        outer[camera, 0] = inner
    (tmp_path / "exp").mkdir()
    savemat(tmp_path / "exp/rand_perm_cam.mat", {"rand_perm_cam": outer})
    permutations = sysu.load_permutations(tmp_path)
    samples = people(4)
    for trial, first in ((0, 2), (1, 3)):
        rows = sysu.draw_gallery(samples, trial, "all", 1, permutations)
        assert [Path(samples[r].path).stem for r in rows] == [f"{first:04d}"] * 6
    assert [Path(samples[r].path).stem for r in sysu.draw_gallery(samples, 0, "indoor", 2, permutations)] == [
        "0002",
        "0001",
    ] * 4
    with pytest.raises(ValueError, match="--official-draws"):
        sysu.draw_gallery(people(1), 0, "all", 1, permutations)
    (tmp_path / "exp/rand_perm_cam.mat").write_bytes(b"junk")
    with pytest.raises(ValueError, match="permutation file"):
        sysu.load_permutations(tmp_path)
