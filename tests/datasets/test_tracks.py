"""Sets of tracks: frames, layouts, what can be wrong with them, and runs of the real commands on them."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import raw_trees
from helpers.small_runs import ROOT, rows, small

from sdcl.cli import doctor, report
from sdcl.datasets import DATASETS, Sample, open_dataset
from sdcl.datasets.prepare import main as prepare
from sdcl.datasets.tracks import every_nth, track_protocols
from sdcl.evaluation.protocols import entries_of
from sdcl.runtime.errors import DataError
from sdcl.synthetic import dataset as synthetic

LAYOUTS = ("vcm", "buptcampus")


@pytest.fixture(scope="module", params=LAYOUTS)
def tree(request, tmp_path_factory):
    """(name, a folder in that layout, which tests only read)."""
    return request.param, raw_trees.tracks(tmp_path_factory.mktemp("tracks") / request.param, request.param)


@pytest.fixture
def vcm(tmp_path):
    return raw_trees.tracks(tmp_path / "vcm", "vcm")


@pytest.fixture
def buptcampus(tmp_path):
    return raw_trees.tracks(tmp_path / "buptcampus", "buptcampus", frames=2)


def edited(path, line, text):
    """Replace a line, counted from 1, of a file."""
    lines = path.read_text().splitlines()
    lines[line - 1] = text
    path.write_text("\n".join(lines) + "\n")


# ------------------------------------------------------------------ frames


def test_one_frame_in_n_of_each_track():
    frames = [Sample(f"{t}_{n}", 1, 1, "visible", t) for n in range(7) for t in (4, 2)]  # tracks interleaved
    assert [s.path for s in every_nth(frames, 3)] == [f"{t}_{n}" for n in (0, 3, 6) for t in (4, 2)]
    assert every_nth(frames, 1) == frames


def test_every_nth_frame_is_an_image_raw_and_prepared(tree, tmp_path):
    """Images, tracks and query tracks of the downloaded layout come back from the prepared one."""
    name, root = tree
    assert prepare([name, "--data-dir", str(root), "--out", str(tmp_path), "--every", "8"]) == 0
    raw, prepared = open_dataset(name, root), open_dataset(name, tmp_path)
    counts = json.loads((root / "synthetic.json").read_text())["counts"]
    kept = {"vcm": 2, "buptcampus": 1}[name]  # of 12 frames, one in 8 or in 25
    for split, samples in (("train", raw.train), ("test", raw.test)):
        again = getattr(prepared, split)
        for m in samples:
            tracks = Counter(s.track for s in samples[m])
            assert len(tracks) == counts[f"{split}_{m}_tracks"] and set(tracks.values()) == {kept}
            assert set(Counter(s.track for s in again[m]).values()) == {2}
            facts = {(s.identity, s.camera, s.track, s.query) for s in samples[m]}
            assert facts == {(s.identity, s.camera, s.track, s.query) for s in again[m]}
            if name == "vcm":  # in the same order
                assert [Path(s.path).name for s in samples[m]] == [
                    Path(s.path).name.rpartition("_")[2] for s in again[m]
                ]
    assert any("one frame in 8" in notice for notice in prepared.notices)
    assert any("-d sysu" in notice for notice in raw.notices)


def test_preparing_with_another_step_replaces_the_images(tree, tmp_path, capsys):
    name, root = tree
    command = [name, "--data-dir", str(root), "--out", str(tmp_path)]
    assert prepare([*command, "--every", "4"]) == 0 and prepare([*command, "--every", "4"]) == 0
    assert "nothing to do" in capsys.readouterr().out
    four = open_dataset(name, tmp_path)
    assert prepare([*command, "--every", "6"]) == 0
    six = open_dataset(name, tmp_path)
    assert {m: 3 * len(s) for m, s in six.train.items()} == {m: 2 * len(s) for m, s in four.train.items()}
    assert prepare([*command, "--every", "0"]) == 2
    assert "--every" in capsys.readouterr().err


def test_vcm_frames_belong_to_their_rows(vcm):
    samples = open_dataset("vcm", vcm).test
    table = (vcm / "info/track_test_info.txt").read_text().splitlines()
    names = (vcm / "info/test_name.txt").read_text().splitlines()
    for m, kind, folder in (("infrared", "1", "ir"), ("visible", "2", "rgb")):
        for s in samples[m]:
            first = table[s.track - 1].split()
            assert first[0] == kind and (int(first[3]), int(first[4])) == (s.identity, s.camera)
            listed = names[int(first[1]) - 1 : int(first[2])]
            numbers = [n.partition("F")[2] for n in listed]
            assert Path(s.path).name in numbers
            assert Path(s.path).parts[-5:-1] == ("Test", f"{s.identity:04d}", folder, f"D{s.camera}")


def test_buptcampus_lists_choose_the_tracks(buptcampus):
    """Training rows are a track of each modality; queries are those of query.txt."""
    dataset = open_dataset("buptcampus", buptcampus)
    rows_of = {
        n: (buptcampus / f"{n}.txt").read_text().split("\n")[:-1] for n in ("train", "query", "gallery")
    }
    for samples in dataset.train.values():
        assert len({s.track for s in samples}) == len(rows_of["train"]) and not any(s.query for s in samples)
    for m, word in (("visible", "RGB"), ("infrared", "IR")):
        for query in (True, False):
            found = {(s.identity, s.camera, s.track) for s in dataset.test[m] if s.query == query}
            listed = [row for row in rows_of["query" if query else "gallery"] if f" {word} " in row]
            assert len(found) == len(listed) and {str(i) for i, _, _ in found} == {
                r.split()[0] for r in listed
            }
            assert all("/FakeIR/" not in s.path and f"/{word}/" in s.path for s in dataset.test[m])


# ------------------------------------------------------------------ bad input


def test_short_tracks_of_vcm_are_left_out(vcm):
    """In training and in the test, as in the readers of published methods."""
    before = open_dataset("vcm", vcm, allow_incomplete=True)
    for split in ("train", "test"):
        path = vcm / f"info/track_{split}_info.txt"
        kind, first, last, *who = path.read_text().splitlines()[1].split()
        edited(path, 2, " ".join((kind, first, str(int(last) - 1), *who)))  # 11 frames
    after = open_dataset("vcm", vcm, allow_incomplete=True)
    for was, now in ((before.train, after.train), (before.test, after.test)):
        assert {s.track for s in was["infrared"]} - {s.track for s in now["infrared"]} == {2}


def test_a_name_file_shorter_than_its_track_table_is_refused(vcm):
    path = vcm / "info/test_name.txt"
    path.write_text("\n".join(path.read_text().splitlines()[:-1]) + "\n")
    with pytest.raises(
        DataError, match=r"track_test_info\.txt, line \d+: .*test_name\.txt has \d+ lines.*copy both"
    ):
        open_dataset("vcm", vcm)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_missing_frame_is_named_and_left_out_if_that_is_accepted(layout, request):
    root = request.getfixturevalue(layout)
    (train, test) = (open_dataset(layout, root).train, open_dataset(layout, root).test)
    lost = test["infrared"][1]
    Path(lost.path).unlink()
    with pytest.raises(
        DataError, match=rf"1 of {len(test['infrared'])} test infrared frames .*{Path(lost.path).name}"
    ):
        open_dataset(layout, root)
    left = open_dataset(layout, root, allow_incomplete=True)
    assert left.train == train and left.test["infrared"] == [s for s in test["infrared"] if s != lost]
    assert not left.complete


@pytest.mark.parametrize(
    "file, line, text, said",
    [
        ("info/track_train_info.txt", 1, "3 1 12 1 1", "line 1: expected `modality first last"),
        ("info/track_train_info.txt", 1, "1 12 1 1 1", "first at most last"),
        ("info/track_train_info.txt", 1, "one 1 12 1 1", "line 1: expected numbers"),
        ("info/train_name.txt", 3, "../../etc/1.jpg", "line 3: expected a frame name"),
        ("info/query_IDX.txt", 1, "1 2", "infrared"),
    ],
)
def test_bad_lists_of_vcm_are_refused(vcm, file, line, text, said):
    edited(vcm / file, line, text)
    with pytest.raises(DataError, match=said) as refusal:
        open_dataset("vcm", vcm)
    assert Path(file).name in str(refusal.value)


@pytest.mark.parametrize(
    "file, text, said",
    [
        ("query.txt", "5 IR X9 1", "query.txt, line 1: expected `person modality camera track`"),
        ("train.txt", "1 RGB/IR G25", "train.txt, line 1"),
        ("gallery.txt", "999 IR G25 1", r"line 1: .*data_paths\.json has no track 1 of person 999"),
    ],
)
def test_bad_lists_of_buptcampus_are_refused(buptcampus, file, text, said):
    edited(buptcampus / file, 1, text)
    with pytest.raises(DataError, match=said):
        open_dataset("buptcampus", buptcampus)


def test_a_track_table_of_buptcampus_that_cannot_be_used_is_refused(buptcampus):
    path = buptcampus / "data_paths.json"
    files = json.loads(path.read_text())
    person = next(iter(files))
    for modality in files[person].values():
        for tracks in modality.values():
            tracks["1"] = ["../outside.jpg"]
    path.write_text(json.dumps(files))
    with pytest.raises(DataError, match=f"has no track 1 of person {person}"):
        open_dataset("buptcampus", buptcampus)
    path.write_text("[]")
    with pytest.raises(DataError, match=r"data_paths\.json .*original archive"):
        open_dataset("buptcampus", buptcampus)
    path.unlink()
    with pytest.raises(DataError, match=r"data_paths\.json is missing"):
        open_dataset("buptcampus", buptcampus)


@pytest.mark.parametrize(
    "layout, known",
    [
        ("vcm", ("126,543", "98,214", "5,460", "4,291", "4,584")),
        ("buptcampus", ("398,069", "3,574", "536", "540")),
    ],
)
def test_published_counts_are_verified(layout, known, request, capsys):
    root = request.getfixturevalue(layout)
    (root / "synthetic.json").unlink()  # now it claims to be the real one
    assert prepare([layout, "--data-dir", str(root)]) == 2
    error = capsys.readouterr().err
    assert all(number in error for number in known), error
    assert prepare([layout, "--data-dir", str(root), "--allow-incomplete"]) == 0


def test_a_prepared_image_without_a_track_is_refused(tree, tmp_path):
    name, root = tree
    assert prepare([name, "--data-dir", str(root), "--out", str(tmp_path)]) == 0
    (tmp_path / "rgb_modify/bounding_box_train/0001_c1_1.jpg").write_bytes(b"")
    with pytest.raises(DataError, match="IDENTITY_cCAMERA_tTRACK_"):
        open_dataset(name, tmp_path)


# ------------------------------------------------------------------ protocols


def test_protocols_compare_tracks_and_single_frames_in_both_directions(tree):
    name, root = tree
    dataset = open_dataset(name, root)
    protocols = dataset.protocols()
    title = DATASETS[name].title
    assert [(p.name, p.direction) for p in protocols] == [
        (f"{title} {what}", direction)
        for direction in ("infrared to visible", "visible to infrared")
        for what in ("tracks", "single frames")
    ]
    for tracks, frames in (protocols[:2], protocols[2:]):
        for side in ("query", "gallery"):
            samples = dataset.test[getattr(frames, side)]
            chosen = [samples[i] for i in getattr(frames.draws[0], side)]
            numbers = sorted({s.track for s in samples})
            assert {s.track for s in chosen} == {numbers[t] for t in getattr(tracks.draws[0], side)}
            if name == "buptcampus":
                assert {s.query for s in chosen} == {side == "query"}
            else:
                assert len(chosen) == len(samples)


def test_a_query_track_is_none_of_the_gallery():
    """Query and gallery tracks of one modality, in lists that are not sorted by track."""
    test = {
        m: [Sample(f"{m}{t}{n}", t, 1, m, t, query=t in (1, 3)) for n in range(2) for t in (3, 1, 2)]
        for m in ("visible", "infrared")
    }
    tracks, frames = track_protocols("x", test, removed=None, listed_queries=True, note="")[:2]
    assert tracks.tracks["visible"].tolist() == [2, 0, 1, 2, 0, 1]
    assert (tracks.draws[0].query.tolist(), tracks.draws[0].gallery.tolist()) == ([0, 2], [1])
    assert (frames.draws[0].query.tolist(), frames.draws[0].gallery.tolist()) == ([0, 1, 3, 4], [2, 5])


def test_shown_frames_are_of_their_track(tree):
    """Each track's middle frame."""
    name, root = tree
    dataset = open_dataset(name, root)
    protocol = dataset.protocols()[0]
    for m, samples in dataset.test.items():
        identities = np.array([s.identity for s in samples])
        entries = entries_of(protocol, m, torch.eye(len(samples)), identities, identities)
        assert [samples[i].track for i in entries.shown] == sorted({s.track for s in samples})


# ------------------------------------------------------------------ the commands


def call(script, *flags):
    environment = {
        **os.environ,
        "GPUS": "1",
        "PYTHON": sys.executable,
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        ["sh", ROOT / "examples" / script, *map(str, flags)],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    return done.stdout


@pytest.mark.long
@pytest.mark.parametrize("layout", LAYOUTS)
def test_rendered_tracks_from_synthesis_to_report(layout, tmp_path, capsys):
    """synthesize, prepare, train, test, report, doctor, by the method that needs the fewest clusters."""
    raw, out, run = tmp_path / "raw", tmp_path / "out", tmp_path / "run"
    made = synthetic.build(raw, layout, identities=5, images_per_camera=12)["counts"]
    assert prepare([layout, "--data-dir", str(raw), "--out", str(out), "--every", "4"]) == 0
    dataset = open_dataset(layout, out)
    assert {m: len(s) for m, s in dataset.train.items()} == {
        m: made[f"train_{m}"] // 4 for m in dataset.train
    }
    where = ["--data-dir", out, "--logs-dir", run, "--cache-dir", tmp_path / "cache", "--method", "baseline"]
    log = call(f"train_sdcl_{layout}.sh", *where, *small("baseline", layout))
    assert "one frame in 4" in log and "recipes are those of -d sysu" in log
    shown = call(f"test_sdcl_{layout}.sh", *where, "--device", "cpu", "--precision", "fp32")
    title = DATASETS[layout].title
    assert f"{title} tracks" in shown and f"{title} single frames" in shown
    tested = json.loads((run / "test.json").read_text())
    assert [r["mAP"] for r in tested] == pytest.approx([r["mAP"] for r in rows(run)[-1]["test"]])
    sizes = {
        m: len({s.track for s in dataset.test[m] if layout == "vcm" or not s.query}) for m in dataset.test
    }
    assert [r["gallery_size"] for r in tested][::2] == [sizes["visible"], sizes["infrared"]]
    assert report.main([str(run)]) == 0
    assert "A track is shown by its middle frame." in (run / "report.html").read_text()
    capsys.readouterr()
    flags = ["-d", layout, "--data-dir", str(out), "-a", "vit_mini", "--pretrained", "none", "--no-timing"]
    assert doctor.main(flags) == 1  # random weights
    assert "verdict: usable" in capsys.readouterr().out
