"""Plans: the counts of the real data sets, list files, and cameras that no two sets share."""

import hashlib
import json

import numpy as np
import pytest

from sdcl.runtime.errors import SettingError
from sdcl.synthetic.person import generator
from sdcl.synthetic.plan import LAYOUTS, SETS, SYSU_TRAIN, cameras, plan, random_counts, sysu_presence

# Of each set at seed 0: its images, list files and counts.
DIGESTS = {
    ("sysu", "quick"): "621848e90f45f1c1",
    ("sysu", "medium"): "0ebfc8d361b756a7",
    ("sysu", "reference"): "132564b9db21b0d1",
    ("sysu", "sysu"): "f48f23229278e4b5",
    ("regdb", "quick"): "6e83232fa2c58cf0",
    ("regdb", "medium"): "4bffe2439580909d",
    ("regdb", "sysu"): "33767494532b9f1f",
    ("llcm", "quick"): "48346db8aeb56a06",
    ("llcm", "medium"): "7bf003279dee151b",
    ("llcm", "sysu"): "4c04594f2c69f36c",
    ("vcm", "quick"): "95ba14ec95b7b684",
    ("vcm", "medium"): "fbd1ca9b72a96f46",
    ("buptcampus", "quick"): "3a76e3099131e5d8",
    ("buptcampus", "medium"): "71aa578d8c24da8b",
}


@pytest.mark.parametrize(("layout", "set_name"), DIGESTS)
def test_plans_stay_the_same(layout, set_name):
    planned = plan(layout, set_name, 0)
    digest = hashlib.sha256()
    for shot in planned.shots:
        digest.update(repr((shot.path, shot.identity, shot.camera, shot.number)).encode())
    digest.update(json.dumps(planned.texts, sort_keys=True).encode())
    digest.update(json.dumps(planned.counts).encode())
    assert digest.hexdigest()[:16] == DIGESTS[layout, set_name]


def test_sysu_set_has_the_counts_of_sysu_mm01():
    whole = plan("sysu", "sysu", 0)
    assert whole.counts == {
        "train_identities": 395,
        "train_visible": 22258,
        "train_infrared": 11909,
        "test_identities": 96,
        "test_visible": 6775,
        "test_infrared": 3803,
    }
    lists = {n: {int(i) for i in whole.texts[f"exp/{n}_id.txt"].split(",")} for n in ("train", "val", "test")}
    assert [len(lists[name]) for name in ("train", "val", "test")] == [296, 99, 96]
    by_camera = {c: [s for s in whole.shots if s.camera == c] for c in range(1, 7)}
    for camera, shots in by_camera.items():
        train = [s for s in shots if s.identity not in lists["test"]]
        assert (len({s.identity for s in train}), len(train)) == SYSU_TRAIN[camera]
    test = {c: [s.identity for s in shots if s.identity in lists["test"]] for c, shots in by_camera.items()}
    assert [len(set(test[c])) for c in (1, 2, 4, 5)] == [56, 56, 94, 95]
    assert (len(test[3]), len(test[6])) == (1883, 1920)
    indoor = set(test[1]) | set(test[2])
    assert sum(i in set(test[1]) for i in test[3]) + sum(i in indoor for i in test[6]) == 2208
    assert min(test[c].count(i) for c in (1, 2, 4, 5) for i in set(test[c])) >= 10  # multi-shot draws ten


def test_regdb_and_llcm_have_the_real_counts():
    assert list(plan("regdb", "sysu", 0).counts.values()) == [206, 2060, 2060, 206, 2060, 2060]
    assert list(plan("llcm", "sysu", 0).counts.values()) == [713, 16946, 13975, 351, 8680, 7166]


@pytest.mark.parametrize("number", [4, 7, 16, 40, 395])
def test_every_identity_has_both_modalities(number):
    sizes = {c: max(1, round(number * n / 395)) for c, (n, _) in SYSU_TRAIN.items()}
    seen = sysu_presence(generator(0, (number,)), list(range(number)), sizes)
    visible, infrared = ({i for c in chosen for i in seen[c]} for chosen in ((1, 2, 4, 5), (3, 6)))
    assert visible == infrared == set(range(number))
    assert all(len(set(seen[c])) == len(seen[c]) == sizes[c] for c in sizes)


def test_random_counts_sum_to_the_total():
    counts = random_counts(np.random.default_rng(0), 1883, 96, 15, 20)
    assert sum(counts) == 1883 and min(counts) >= 15 and max(counts) <= 20 and len(set(counts)) > 2
    with pytest.raises(ValueError, match="cannot sum"):
        random_counts(np.random.default_rng(0), 10, 2, 1, 4)


def test_no_two_sets_share_a_camera_and_cameras_2_and_3_share_a_room():
    sets = [(layout, name, seed) for layout in LAYOUTS for name in SETS for seed in (0, 1)]
    keys = [camera.key for key in sets for camera in cameras(*key).values()]
    assert len(set(keys)) == len(keys)
    sysu = cameras("sysu", "quick", 0)
    assert sysu[3].scene_key == sysu[2].scene_key
    assert (sysu[3].sensor, sysu[2].sensor) == ("nir", "visible")


@pytest.mark.parametrize(
    "wrong",
    [
        ("market", "quick"),
        ("sysu", "huge"),
        ("regdb", "reference"),
        ("sysu", "quick", 3, None),
        ("sysu", "quick", None, 0),
        ("vcm", "quick", None, 11),  # readers leave such short tracks out
    ],
)
def test_wrong_settings_are_refused(wrong):
    layout, name, *sizes = wrong
    with pytest.raises(SettingError):
        plan(layout, name, 0, *sizes)
