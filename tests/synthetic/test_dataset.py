"""Synthetic data sets: equal bytes for equal settings, the real layouts,
resuming, folders of other content.
"""

import hashlib
import json
import random
import shutil

import PIL
import pytest
from PIL import Image

from sdcl.runtime.errors import OutputError, SettingError
from sdcl.synthetic import dataset as synthetic
from sdcl.synthetic.plan import plan

SMALL = {"identities": 4, "images_per_camera": 2}


@pytest.fixture(scope="module")
def sysu(tmp_path_factory):
    """A small finished set in the SYSU layout and its manifest."""
    out = tmp_path_factory.mktemp("synthetic") / "sysu"
    return out, synthetic.build(out, seed=3, **SMALL)


def files(folder):
    """Bytes of every file below a folder by relative path."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def ids_of(path):
    """The comma-separated numbers of a file's first line."""
    return [int(number) for number in path.read_text().splitlines()[0].split(",")]


def test_same_settings_give_the_same_bytes_with_any_number_of_jobs(sysu, tmp_path):
    out, _ = sysu
    command = [
        "--seed",
        "3",
        "--identities",
        "4",
        "--images-per-camera",
        "2",
        "--jobs",
        "2",
        "--out",
        str(tmp_path / "again"),
    ]
    assert synthetic.main(command) == 0
    assert files(out) == files(tmp_path / "again")


def test_another_seed_or_difficulty_gives_other_images(sysu, tmp_path):
    _, manifest = sysu
    for name, setting in (("seed", {"seed": 4}), ("difficulty", {"seed": 3, "difficulty": "hard"})):
        other = synthetic.build(tmp_path / name, **setting, **SMALL)
        shared = [path for path in manifest["files"] if path.endswith(".jpg") and path in other["files"]]
        assert shared and all(manifest["files"][path] != other["files"][path] for path in shared)


def test_sysu_layout(sysu):
    out, manifest = sysu
    train, val, test = (ids_of(out / "exp" / f"{name}_id.txt") for name in ("train", "val", "test"))
    assert not set(train) & set(val) and not set(train + val) & set(test)
    assert sorted(train + val + test) == ids_of(out / "exp" / "available_id.txt")
    seen = {camera: {int(p.name) for p in (out / f"cam{camera}").iterdir()} for camera in range(1, 7)}
    for identity in train + val + test:
        assert any(identity in seen[c] for c in (1, 2, 4, 5)) and any(identity in seen[c] for c in (3, 6))
    for part, chosen in (("train", train + val), ("test", test)):
        for modality, chosen_cameras in (("visible", (1, 2, 4, 5)), ("infrared", (3, 6))):
            images = [
                p
                for c in chosen_cameras
                for i in chosen
                for p in (out / f"cam{c}" / f"{i:04d}").glob("*.jpg")
            ]
            assert len(images) == manifest["counts"][f"{part}_{modality}"]
    with (
        Image.open(next((out / "cam3").rglob("*.jpg"))) as infrared,
        Image.open(next((out / "cam1").rglob("*.jpg"))) as visible,
    ):
        assert infrared.mode == "L" and visible.mode == "RGB"
        assert 120 <= visible.height <= 160 and 0.39 < visible.width / visible.height < 0.51


def test_regdb_layout(tmp_path):
    manifest = synthetic.build(tmp_path / "regdb", "regdb", **SMALL)
    assert manifest["trials"] == list(range(1, 11))
    for trial in manifest["trials"]:
        people = {}
        for split in ("train", "test"):
            for name, modality in (("visible", "visible"), ("thermal", "infrared")):
                lines = [
                    line.rsplit(" ", 1)
                    for line in (tmp_path / f"regdb/idx/{split}_{name}_{trial}.txt").read_text().splitlines()
                ]
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
        assert len(lines) == manifest["counts"][f"train_{modality}"] and {
            int(label) for _, label in lines
        } == set(range(5))
        assert all((tmp_path / "llcm" / path).exists() for path, _ in lines)
        found = list((tmp_path / "llcm" / f"test_{name}").glob("cam*/*/*.jpg"))
        assert len(found) == manifest["counts"][f"test_{modality}"]
        assert {int(path.parent.name) for path in found} == set(ids_of(tmp_path / "llcm/idx/test_id.txt"))
    assert not (tmp_path / "llcm/test_nir/cam3").exists() and not (tmp_path / "llcm/nir/cam3").exists()


def test_continues_after_an_interruption_and_then_does_nothing(sysu, tmp_path):
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


def test_a_folder_with_other_content_is_refused(sysu, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"not empty.*--out"):
        synthetic.build(tmp_path, **SMALL)
    out, _ = sysu
    with pytest.raises(OutputError, match=r"seed 3.*--out"):
        synthetic.build(out, seed=4, **SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    "wrong", [{"layout": "market"}, {"set_name": "huge"}, {"difficulty": "mild"}, {"identities": 1}]
)
def test_wrong_settings_are_refused_before_anything_is_written(wrong, tmp_path):
    with pytest.raises(SettingError):
        synthetic.build(tmp_path / "out", **wrong)
    assert not (tmp_path / "out").exists()


def test_a_track_shows_one_walk():
    """Its frames have one size and nearly the same pixels; another track of the person has others."""
    shots = plan("buptcampus", "quick", 3, 4, 5).shots
    first = next(s for s in shots if s.frame == 4 and s.number == 2)
    images = {
        (s.number, s.frame): synthetic.render_shot(("buptcampus", "quick", 3), "medium", s).astype(int)
        for s in shots
        if (s.identity, s.camera) == (first.identity, first.camera)
    }
    assert len(images) == 10 and len({images[1, f].shape for f in range(5)}) == 1
    height, width = (min(image.shape[axis] for image in images.values()) for axis in (0, 1))
    crops = {key: image[:height, :width] for key, image in images.items()}
    steps = [abs(crops[1, f] - crops[1, f + 1]).mean() for f in range(4)]
    assert min(steps) > 1 and max(steps) < 0.5 * abs(crops[1, 0] - crops[2, 0]).mean()


# Of small sets at seed 3: pixels, the same on every machine, and all files, whose JPEG bytes depend on
# Pillow.
GOLDEN = {
    "sysu": ((4, 2), "04ffce7c0ae7aeb1", "1519516a8f3a1ee9"),
    "regdb": ((4, 2), "d79788f83d70554d", "a8bde29327fc1453"),
    "llcm": ((4, 1), "6bc10744a9cdda65", "7cd1ad300064b224"),
    "buptcampus": ((4, 2), "ddcf64a2b561b2e9", "75325f5bfc053914"),
}
GOLDEN_PILLOW = "13.0.0"


@pytest.mark.parametrize("layout", GOLDEN)
def test_rendered_sets_stay_the_same(layout, tmp_path):
    sizes, pixel_digest, file_digest = GOLDEN[layout]
    digest = hashlib.sha256()
    for shot in plan(layout, "quick", 3, *sizes).shots:
        image = synthetic.render_shot((layout, "quick", 3), "medium", shot)
        for part in (shot.path.encode(), repr(image.shape).encode(), image.tobytes()):
            digest.update(part)
    assert digest.hexdigest()[:16] == pixel_digest
    if layout != "regdb" and PIL.__version__ != GOLDEN_PILLOW:
        pytest.skip(f"JPEG files are compared with Pillow {GOLDEN_PILLOW} only")
    synthetic.build(tmp_path, layout, seed=3, identities=sizes[0], images_per_camera=sizes[1])
    digest = hashlib.sha256()
    for path, content in sorted(files(tmp_path).items()):
        if path != synthetic.MANIFEST:
            digest.update(path.encode() + content)
    assert digest.hexdigest()[:16] == file_digest


def test_overview_image(tmp_path):
    synthetic.contact_sheet(tmp_path / "sheet.png", identities=2)
    with Image.open(tmp_path / "sheet.png") as image:
        assert image.size == (7 * 2 * 64, 2 * 144)
