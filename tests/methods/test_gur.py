"""GUR's stages: which images each looks at, what each is clustered by and contrasted with, and when; every
switch.
"""

import numpy as np
import pytest
import torch

from sdcl import association
from sdcl.association import association_embedding
from sdcl.clustering import pseudo_labels
from sdcl.config import resolve
from sdcl.datasets.sample import MODALITIES
from sdcl.memory import centroids
from sdcl.methods import NoClusters
from sdcl.methods.gur import GUR

EASY = {"k1": 8, "k2": 3, "camera_eps": 0.5, "eps": 0.5, "propagation_k": 3, "structure_k": 3}
CAMERAS = {"visible": (1, 2, 4), "infrared": (3, 6)}
SIZE = 20  # images of one camera: five of each of four people


def world(seed=0, clusters=4):
    """Features in which people are far apart, cameras near."""
    g = np.random.default_rng(seed)
    people = g.standard_normal((clusters, 16))
    features, cameras = {}, {}
    for m, ids in CAMERAS.items():
        who = np.tile(np.repeat(np.arange(clusters), SIZE // clusters), len(ids))
        rows = 3 * people[who] + 0.3 * g.standard_normal((len(who), 16))
        features[m] = {
            "deep": torch.tensor(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=torch.float32)
        }
        cameras[m] = np.repeat(ids, SIZE)
    return features, cameras


class Extraction:
    """Extracts rows of the same features every time, and remembers which."""

    def __init__(self, features):
        self.features, self.asked = features, []

    def __call__(self, rows=None):
        self.asked.append(rows)
        if rows is None:
            return self.features
        return {m: {"deep": self.features[m]["deep"][r]} for m, r in rows.items()}


def run(epoch=0, features=None, cameras=None, **said):
    given = {"method": "gur", **EASY, **said}
    unread = (
        ("propagation", ("propagate_from", "propagation_k", "structure_k")),
        ("structure", ("structure_k",)),
    )
    dropped = {n for switch, names in unread if given.get(switch) is False for n in names}
    dropped |= {"camera_eps"} if given.get("intra_camera") is False else set()
    settings, _ = resolve({n: v for n, v in given.items() if n not in dropped})
    made = world()
    features, cameras = features or made[0], cameras or made[1]
    extraction = Extraction(features)
    method = GUR(settings, cameras)
    return list(method.stages(epoch, extraction, lambda make: make())), extraction, features, cameras


def names(*arguments, **said):
    return [(s.name, s.iterations if s.objectives else 0) for s in run(*arguments, **said)[0]]


PAIRS = [f"cameras_{v}_{i}" for v in CAMERAS["visible"] for i in CAMERAS["infrared"]]


def test_an_epoch_goes_from_cameras_to_modalities_to_both():
    assert names(0) == [(p, 50) for p in PAIRS] + [("modalities", 200), ("joint", 200)]
    assert names(30)[-2:] == [("unified", 200), ("joint", 200)]
    assert names(40)[-1] == ("unified", 200) and len(names(40)) == len(PAIRS) + 1


def test_camera_stages_see_their_two_cameras_only():
    stages, extraction, features, cameras = run()
    for stage, rows in zip(stages, extraction.asked[: len(PAIRS)]):
        v, i = (int(c) for c in stage.name.split("_")[1:])
        for m, c in zip(MODALITIES, (v, i)):
            np.testing.assert_array_equal(rows[m], np.flatnonzero(cameras[m] == c))
            assert (stage.labels[m][cameras[m] != c] == -1).all()
            own = pseudo_labels(features[m]["deep"][rows[m]], k1=8, k2=3, eps=0.5, normalize=False)
            np.testing.assert_array_equal(stage.labels[m][rows[m]], own.ids)
            memory = stage.objectives["contrast"].memories["deep"][m]
            assert torch.equal(memory.rows, centroids(features[m]["deep"][rows[m]], own.ids))


def test_features_are_extracted_once_per_model_state():
    """One extraction before each stage; without --refresh-cameras each camera once."""
    _, extraction, _, _ = run()
    assert len(extraction.asked) == len(PAIRS) + 2 and extraction.asked[-2:] == [None, None]
    _, extraction, _, cameras = run(refresh_cameras=False)
    asked = [r for rows in extraction.asked[:-2] for m, r in rows.items()]
    assert sum(map(len, asked)) == sum(map(len, cameras.values()))


def test_modalities_are_clustered_by_the_memories_that_the_cameras_left():
    features, cameras = world()
    settings, _ = resolve({"method": "gur", **EASY})
    left = {m: {} for m in MODALITIES}
    for stage in GUR(settings, cameras).stages(0, Extraction(features), lambda make: make()):
        memories = stage.objectives["contrast"].memories["deep"]
        if stage.name.startswith("cameras"):
            for m, c in zip(MODALITIES, stage.name.split("_")[1:]):
                memories[m].rows.add_(0.01 * int(c))  # as if trained
                left[m][c] = memories[m].rows.clone()
        elif stage.name == "modalities":
            for m in MODALITIES:
                seen = association_embedding(features[m]["deep"], list(left[m].values()))
                own = pseudo_labels(seen, k1=8, k2=3, eps=0.5, normalize=False)
                np.testing.assert_array_equal(stage.labels[m], own.ids)
                assert torch.equal(memories[m].rows, centroids(features[m]["deep"], own.ids))
                memories[m].rows.mul_(0.5)
            trained = [memories[m].rows.clone() for m in MODALITIES]
        else:
            seen = torch.cat([association_embedding(features[m]["deep"], trained) for m in MODALITIES])
            both = pseudo_labels(seen, k1=8, k2=3, eps=0.5, normalize=False).ids
            np.testing.assert_array_equal(np.concatenate([stage.labels[m] for m in MODALITIES]), both)
            assert memories["visible"] is memories["infrared"]
            assert torch.equal(
                memories["visible"].rows,
                centroids(torch.cat([features[m]["deep"] for m in MODALITIES]), both),
            )


def test_unified_labels_are_infrared_ones_and_both_train_on_the_infrared_centroids():
    stages, _, features, _ = run(30)
    stage = next(s for s in stages if s.name == "unified")
    memories = stage.objectives["contrast"].memories["deep"]
    assert memories["visible"] is memories["infrared"]
    assert torch.equal(
        memories["infrared"].rows, centroids(features["infrared"]["deep"], stage.labels["infrared"])
    )
    np.testing.assert_array_equal(stage.labels["visible"], stage.named("visible_associated").ids)
    people = np.tile(np.repeat(np.arange(4), 5), 3)  # the same person has the same label on both sides
    for person in range(4):
        assert set(stage.labels["visible"][people == person]) == set(
            stage.labels["infrared"][np.tile(np.repeat(np.arange(4), 5), 2) == person]
        )


@pytest.mark.parametrize(
    "said,expected",
    [
        ({"intra_camera": False}, [("modalities", 200), ("joint", 200)]),
        ({"inter_modality": False, "intra_camera": False}, [("modalities", 200)]),
        ({"inter_camera": False, "intra_camera": False}, [("modalities", 0), ("joint", 200)]),
        ({"inter_modality_until": 0, "intra_camera": False}, [("modalities", 200)]),
        ({"propagate_from": 0, "intra_camera": False}, [("unified", 200), ("joint", 200)]),
        (
            {"propagate_from": 0, "propagation": False, "intra_camera": False},
            [("modalities", 200), ("joint", 200)],
        ),
    ],
)
def test_switches(said, expected):
    assert names(0, **said) == expected


def test_structure_smooths_only_from_its_epoch(monkeypatch):
    calls = []
    plain = association.majority_of_neighbors
    monkeypatch.setattr(association, "majority_of_neighbors", lambda *a: calls.append(a[2]) or plain(*a))
    for epoch, said, times in ((39, {}, 0), (40, {}, 1), (40, {"structure": False}, 0)):
        calls.clear()
        run(epoch, intra_camera=False, **said)
        assert calls == [3] * times


def test_cae_switch_and_slices_change_what_is_clustered(monkeypatch):
    seen = []
    plain = association.association_embedding
    monkeypatch.setattr(association, "association_embedding", lambda *a: seen.append(a) or plain(*a))
    run(cae=False)
    assert not seen
    run()
    right = [a[3] for a in seen if len(a) > 3]
    seen.clear()
    run(released_cae_slices=True)
    released = [a[3] for a in seen if len(a) > 3]
    assert right[0] == [(0, 4), (4, 8), (8, 12)] and released[0] == [(0, 4), (4, 12), (12, 12)]


def test_a_camera_without_clusters_is_left_out_and_reported():
    features, cameras = world()
    lonely = np.flatnonzero(cameras["visible"] == 4)
    features["visible"]["deep"][lonely] = torch.nn.functional.normalize(
        torch.randn(SIZE, 16, generator=torch.Generator().manual_seed(0))
    )
    stages, _, _, _ = run(features=features, cameras=cameras, camera_eps=0.3)
    by_name = {s.name: s for s in stages}
    assert not by_name["cameras_4_3"].objectives and by_name["cameras_1_3"].objectives
    assert by_name["cameras_4_3"].named("visible_camera_4").occupied < 2


def test_no_camera_with_clusters_stops_the_run():
    with pytest.raises(NoClusters, match="--camera-eps"):
        run(camera_eps=1e-6, min_samples=21)
