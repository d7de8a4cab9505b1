"""The synthetic benchmark: same bytes for the same settings, readable layouts, exact counts, resumable, careful with folders."""

import json
import random
import shutil

import numpy as np
import pytest
from PIL import Image

from sdcl.synthetic import dataset as synthetic
from sdcl.synthetic.person import BENCHMARK, PRETRAINING, benchmark_person, generator
from sdcl.synthetic.plan import LAYOUTS, SETS, SYSU_TRAIN, cameras, plan, spread, sysu_presence
from sdcl.synthetic.renderer import random_camera, random_person, render
from sdcl.synthetic.scene import SENSORS

SMALL = {"identities": 4, "images_per_camera": 2}


@pytest.fixture(scope="module")
def sysu(tmp_path_factory):
    """A small finished set in the SYSU layout and its manifest."""
    out = tmp_path_factory.mktemp("synthetic") / "sysu"
    return out, synthetic.build(out, seed=3, **SMALL)


def files(folder):
    """Bytes of every file below a folder by relative path."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def ids_of(path):
    """The comma-separated numbers of a file's first line."""
    return [int(number) for number in path.read_text().splitlines()[0].split(",")]


def test_same_settings_give_the_same_bytes_with_any_number_of_jobs(sysu, tmp_path):
    out, _ = sysu
    command = ["--seed", "3", "--identities", "4", "--images-per-camera", "2", "--jobs", "2", "--out", str(tmp_path / "again")]
    assert synthetic.main(command) == 0
    assert files(out) == files(tmp_path / "again")


def test_another_seed_or_difficulty_gives_other_images(sysu, tmp_path):
    _, manifest = sysu
    for name, setting in (("seed", {"seed": 4}), ("difficulty", {"seed": 3, "difficulty": "hard"})):
        other = synthetic.build(tmp_path / name, **setting, **SMALL)
        shared = [path for path in manifest["files"] if path.endswith(".jpg") and path in other["files"]]
        assert shared and all(manifest["files"][path] != other["files"][path] for path in shared)


def test_sysu_layout_reads_as_the_real_one(sysu):
    out, manifest = sysu
    train, val, test = (ids_of(out / "exp" / f"{name}_id.txt") for name in ("train", "val", "test"))
    assert not set(train) & set(val) and not set(train + val) & set(test)
    assert sorted(train + val + test) == ids_of(out / "exp" / "available_id.txt")
    seen = {camera: {int(p.name) for p in (out / f"cam{camera}").iterdir()} for camera in range(1, 7)}
    for identity in train + val + test:
        assert any(identity in seen[c] for c in (1, 2, 4, 5)) and any(identity in seen[c] for c in (3, 6))
    for part, chosen in (("train", train + val), ("test", test)):
        for modality, chosen_cameras in (("visible", (1, 2, 4, 5)), ("infrared", (3, 6))):
            found = [p for c in chosen_cameras for i in chosen for p in (out / f"cam{c}" / f"{i:04d}").glob("*.jpg")]
            assert len(found) == manifest["counts"][f"{part}_{modality}"]
    with Image.open(next((out / "cam3").rglob("*.jpg"))) as infrared, Image.open(next((out / "cam1").rglob("*.jpg"))) as visible:
        assert infrared.mode == "L" and visible.mode == "RGB"
        assert 120 <= visible.height <= 160 and 0.39 < visible.width / visible.height < 0.51


def test_regdb_layout_splits_ten_times_in_half(tmp_path):
    manifest = synthetic.build(tmp_path / "regdb", "regdb", **SMALL)
    assert manifest["trials"] == list(range(1, 11))
    for trial in manifest["trials"]:
        people = {}
        for split in ("train", "test"):
            for name, modality in (("visible", "visible"), ("thermal", "infrared")):
                lines = [line.rsplit(" ", 1) for line in (tmp_path / f"regdb/idx/{split}_{name}_{trial}.txt").read_text().splitlines()]
                assert len(lines) == manifest["counts"][f"{split}_{modality}"] == 4 * 2
                assert sorted({int(label) for _, label in lines}) == [0, 1, 2, 3]
                assert all((tmp_path / "regdb" / path).exists() for path, _ in lines)
                people[split, name] = {(path.split("/")[1], label) for path, label in lines}
            assert people[split, "visible"] == people[split, "thermal"]
        assert not {i for i, _ in people["train", "visible"]} & {i for i, _ in people["test", "visible"]}
    with Image.open(next((tmp_path / "regdb" / "Thermal").rglob("*.bmp"))) as thermal:
        assert thermal.size == (64, 128)


def test_llcm_layout(tmp_path):
    manifest = synthetic.build(tmp_path / "llcm", "llcm", identities=5, images_per_camera=1)
    for name, modality in (("vis", "visible"), ("nir", "infrared")):
        lines = [line.split() for line in (tmp_path / f"llcm/idx/train_{name}.txt").read_text().splitlines()]
        assert len(lines) == manifest["counts"][f"train_{modality}"] and {int(label) for _, label in lines} == set(range(5))
        assert all((tmp_path / "llcm" / path).exists() for path, _ in lines)
        found = list((tmp_path / "llcm" / f"test_{name}").glob("cam*/*/*.jpg"))
        assert len(found) == manifest["counts"][f"test_{modality}"]
        assert {int(path.parent.name) for path in found} == set(ids_of(tmp_path / "llcm/idx/test_id.txt"))
    assert not (tmp_path / "llcm/test_nir/cam3").exists() and not (tmp_path / "llcm/nir/cam3").exists()


def test_goes_on_after_an_interruption_and_then_does_nothing(sysu, tmp_path):
    out, _ = sysu
    copy = tmp_path / "copy"
    shutil.copytree(out, copy)
    whole = files(copy)
    lost = random.Random(0).sample([path for path in whole if path != synthetic.SETTINGS], 9)
    for path in {*lost, synthetic.MANIFEST}:
        (copy / path).unlink()
    kept = next(path for path in whole if path.endswith(".jpg") and path not in lost)
    before = (copy / kept).stat().st_mtime_ns
    synthetic.build(copy, seed=3, **SMALL)
    assert files(copy) == whole and (copy / kept).stat().st_mtime_ns == before
    times = {path: (copy / path).stat().st_mtime_ns for path in whole}
    assert synthetic.build(copy, seed=3, **SMALL) == json.loads(whole[synthetic.MANIFEST])
    assert times == {path: (copy / path).stat().st_mtime_ns for path in whole}


def test_refuses_a_folder_that_holds_something_else(sysu, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"not empty.*--out"):
        synthetic.build(tmp_path, **SMALL)
    out, _ = sysu
    with pytest.raises(ValueError, match=r"another synthetic set .*seed 3.*--out"):
        synthetic.build(out, seed=4, **SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("wrong", [{"layout": "market"}, {"set_name": "huge"}, {"difficulty": "mild"}, {"identities": 1}])
def test_wrong_settings_are_named_before_anything_is_written(wrong, tmp_path):
    with pytest.raises(ValueError, match=r"layout|set|difficulty|identities"):
        synthetic.build(tmp_path / "out", **wrong)
    assert not (tmp_path / "out").exists()


def test_sysu_set_has_sysu_mm01s_own_counts():
    whole = plan("sysu", "sysu", 0)
    assert whole.counts == {
        "train_identities": 395, "train_visible": 22258, "train_infrared": 11909,
        "test_identities": 96, "test_visible": 6775, "test_infrared": 3803,
    }  # fmt: skip
    lists = {name: {int(i) for i in whole.texts[f"exp/{name}_id.txt"].split(",")} for name in ("train", "val", "test")}
    assert [len(lists[name]) for name in ("train", "val", "test")] == [296, 99, 96]
    by_camera = {c: [s for s in whole.shots if s.camera == c] for c in range(1, 7)}
    for camera, shots in by_camera.items():
        train = [s for s in shots if s.identity not in lists["test"]]
        assert (len({s.identity for s in train}), len(train)) == SYSU_TRAIN[camera]
    test = {c: [s.identity for s in shots if s.identity in lists["test"]] for c, shots in by_camera.items()}
    assert [len(set(test[c])) for c in (1, 2, 4, 5)] == [56, 56, 94, 95] and (len(test[3]), len(test[6])) == (1883, 1920)
    indoor = set(test[1]) | set(test[2])
    assert sum(i in set(test[1]) for i in test[3]) + sum(i in indoor for i in test[6]) == 2208
    assert min(test[c].count(i) for c in (1, 2, 4, 5) for i in set(test[c])) >= 10  # multi-shot draws ten


def test_regdb_and_llcm_have_their_own_counts_too():
    assert list(plan("regdb", "sysu", 0).counts.values()) == [206, 2060, 2060, 206, 2060, 2060]
    assert list(plan("llcm", "sysu", 0).counts.values()) == [713, 16946, 13975, 351, 8680, 7166]


@pytest.mark.parametrize("number", [4, 7, 16, 40, 395])
def test_everyone_is_seen_in_both_modalities(number):
    sizes = {c: max(1, round(number * n / 395)) for c, (n, _) in SYSU_TRAIN.items()}
    seen = sysu_presence(generator(0, (number,)), list(range(number)), sizes)
    assert {i for c in (1, 2, 4, 5) for i in seen[c]} == {i for c in (3, 6) for i in seen[c]} == set(range(number))
    assert all(len(set(seen[c])) == len(seen[c]) == sizes[c] for c in sizes)


def test_counts_spread_exactly():
    counts = spread(np.random.default_rng(0), 1883, 96, 15, 20)
    assert sum(counts) == 1883 and min(counts) >= 15 and max(counts) <= 20 and len(set(counts)) > 2
    with pytest.raises(ValueError, match="cannot sum"):
        spread(np.random.default_rng(0), 10, 2, 1, 4)


def test_pre_training_people_are_never_benchmark_people():
    words = [(*range(n), i) for n in range(4) for i in range(40)] + [(BENCHMARK, 0, 0, 0, i) for i in range(40)]
    traits = [[{**vars(draw(w)), "key": None} for w in words] for draw in (random_person, benchmark_person)]
    assert not any(person in traits[1] for person in traits[0])
    streams = {generator(space, w).bytes(16) for space in (PRETRAINING, BENCHMARK) for w in ((), (0,), (0, 0), (1,), (1, 0), (2**32,))}
    assert len(streams) == 12


def test_no_two_sets_share_a_camera_and_two_cameras_share_a_room():
    keys = [camera.key for layout in LAYOUTS for name in SETS for seed in (0, 1) for camera in cameras(layout, name, seed).values()]
    assert len(set(keys)) == len(keys)
    seen = cameras("sysu", "quick", 0)
    assert seen[3].scene_key == seen[2].scene_key and seen[3].sensor == SENSORS[1] and seen[2].sensor == "visible"


def test_render_is_a_pure_function_and_infrared_has_no_hue():
    person, eyes = (
        random_person((5,)),
        [random_camera((1,), "visible"), random_camera((1,), "infrared"), random_camera((1,), "infrared", True)],
    )
    for camera in eyes:
        image = render(person, camera, (0,), size=(144, 72))
        assert image.shape == (144, 72, 3) and image.dtype == np.uint8 and image.std() > 5
        assert np.array_equal(image, render(person, camera, (0,), size=(144, 72)))
        assert not np.array_equal(image, render(person, camera, (1,), size=(144, 72)))
        assert (np.ptp(image, axis=2).max() == 0) == (camera.modality == "infrared")
    with pytest.raises(ValueError, match="difficulty"):
        render(person, eyes[0], (0,), difficulty="mild")
    with pytest.raises(ValueError, match="modality"):
        random_camera((1,), "thermal")


def test_sheet_shows_people_by_cameras(tmp_path):
    synthetic.sheet(tmp_path / "sheet.png", people=2)
    with Image.open(tmp_path / "sheet.png") as image:
        assert image.size == (7 * 2 * 64, 2 * 144)
