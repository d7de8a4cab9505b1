"""Clusters of both modalities together in the place of a method's
own association: --joint of SDCL and GUR.
"""

import numpy as np
import pytest
import torch

from sdcl.clustering import PseudoLabels, joint_pseudo_labels
from sdcl.config import resolve
from sdcl.config.command_line import parser
from sdcl.memory import centroids
from sdcl.methods import NoClusters
from sdcl.methods.gur import GUR
from sdcl.methods.interface import require_common_clusters
from sdcl.methods.sdcl import SDCL
from sdcl.reporting.run_labels import SavedLabels, links
from sdcl.runtime.errors import SettingError

PEOPLE, EACH, SIZES = 5, 8, {"visible": 40, "infrared": 32}
EASY = {"k1": 8, "k2": 3, "eps": 0.3}
STARTS = {"sdcl": "unify_from", "gur": "propagate_from"}
CAMERAS = {m: np.ones(n, int) for m, n in SIZES.items()}


def features(branches):
    """Features in which people are far apart and modalities near; two images of each modality are nobody."""
    g = np.random.default_rng(0)
    made = {m: {} for m in SIZES}
    for branch in branches:
        people = g.standard_normal((PEOPLE, 16))
        for m, n in SIZES.items():
            rows = 3 * people[np.arange(n) % PEOPLE] + 0.4 * g.standard_normal((n, 16))
            rows[-2:] = 5 * g.standard_normal((2, 16))
            made[m][branch] = torch.nn.functional.normalize(torch.tensor(rows, dtype=torch.float32))
    return made


def stage_of(method, epoch, **more):
    settings, _ = resolve({"method": method, **EASY, "joint": True, STARTS[method]: 3, **more})
    cls = {"sdcl": SDCL, "gur": GUR}[method]
    made = features(cls.branches)
    stages = list(cls(settings, CAMERAS).stages(epoch, lambda _=None: made, lambda make: make()))
    return stages, made


def together(made, normalize):
    rows = [torch.cat(list(made[m].values()), 1) for m in SIZES]
    rows = [torch.nn.functional.normalize(r) for r in rows] if normalize else rows
    return np.split(joint_pseudo_labels(*rows, **EASY).ids, [SIZES["visible"]])


@pytest.mark.parametrize(
    ("method", "more"), [("sdcl", {}), ("gur", {"intra_camera": False, "inter_modality": False})]
)
def test_both_modalities_train_on_the_common_clusters_with_one_memory(method, more):
    (stage,), made = stage_of(method, 3, **more)
    assert stage.name == "unified" and [s.name for s in stage.label_sets] == ["visible", "infrared"]
    for (m, ids), expected in zip(stage.labels.items(), together(made, method == "sdcl"), strict=True):
        np.testing.assert_array_equal(ids, expected)
        np.testing.assert_array_equal(stage.named(m).ids, expected)
    assert any((ids == -1).any() for ids in stage.labels.values())
    for person in range(PEOPLE):  # images of a person in both modalities have one label
        found = [set(stage.labels[m][person : n - 2 : PEOPLE]) - {-1} for m, n in SIZES.items()]
        assert found[0] & found[1]
    contrast = stage.objectives["contrast"]
    for branch in made["visible"]:
        assert contrast.memory("visible", branch) is contrast.memory("infrared", branch)
        rows = torch.cat([made[m][branch] for m in SIZES])
        both = np.concatenate([stage.labels[m] for m in SIZES])
        assert torch.equal(contrast.memory("visible", branch).rows, centroids(rows, both))


def test_before_the_unified_stage_each_modality_has_its_own_labels():
    (stage,), _ = stage_of("sdcl", 2)
    assert stage.name == "contrast"
    contrast = stage.objectives["contrast"]
    assert contrast.memory("visible") is not contrast.memory("infrared")


def test_gur_describes_images_by_the_shared_memory_in_its_last_stage():
    (unified, joint), _ = stage_of("gur", 3, intra_camera=False)
    assert (unified.name, joint.name) == ("unified", "joint") and joint.objectives
    assert all(len(joint.labels[m]) == n for m, n in SIZES.items())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"cra_k": 7}, "--cra-k .* needs --no-joint"),
        ({"smoothing": False}, "--no-smoothing .* needs --no-joint"),
        ({"shared_memory_all": False}, "--no-shared-memory-all .* needs --no-joint"),
        ({"k1_visible_unified": 9}, "--k1-visible-unified .* needs --no-joint"),
        ({"labels": "visible"}, "--joint .* needs --labels none"),
        ({"cra": False}, "--joint .* needs --cra"),
        ({"method": "gur", "propagation_k": 7}, "--propagation-k .* needs --no-joint"),
        ({"method": "gur", "structure_from": 7}, "--structure-from .* needs --no-joint"),
        ({"method": "gur", "propagation": False}, "--joint .* needs --propagation"),
        ({"method": "adca"}, "--joint .* would read it"),
    ],
)
def test_settings_that_the_common_clusters_do_not_read_are_refused(given, message):
    with pytest.raises(SettingError, match=message):
        resolve({"joint": True, **given})


def test_the_help_says_that_the_methods_defaults_differ():
    text = " ".join(parser("x", "").format_help().split())
    assert "default False; also --method bmil, there True" in text.replace("; also --method gur", "")


@pytest.mark.parametrize(
    ("visible", "infrared", "message"),
    [
        (
            [0, 1, 2],
            [-1, -1],
            "3 common clusters, of which 3 have visible and 0 infrared images, at --eps 0.6",
        ),
        ([-1, -1], [0, 1], "2 common clusters, of which 0 have visible"),
        ([0, 0, -1], [0, -1], "1 common clusters.*--no-joint"),
    ],
)
def test_common_clusters_of_one_modality_or_a_single_one_are_refused(visible, infrared, message):
    labels = {"visible": PseudoLabels(np.array(visible), 3), "infrared": PseudoLabels(np.array(infrared), 3)}
    with pytest.raises(NoClusters, match=message):
        require_common_clusters(labels, 0.6, 4)


@pytest.mark.parametrize("method", STARTS)
def test_methods_stop_without_common_clusters(method):
    with pytest.raises(NoClusters, match=r"epoch 3: 0 common clusters.*--eps"):
        stage_of(method, 3, eps=1e-6, **({} if method == "sdcl" else {"intra_camera": False}))


@pytest.mark.parametrize("method", ["sdcl", "gur"])
def test_common_clusters_are_shown_as_links(method):
    stage = stage_of(method, 3)[0][-2 if method == "gur" else -1]
    sets = {s.name: SavedLabels(s.ids, s.modality, s.shared_with) for s in stage.label_sets}
    found = links(sets)
    shared = np.intersect1d(*(ids[ids >= 0] for ids in stage.labels.values()))
    assert len(shared) >= PEOPLE and sorted(link.label for link in found) == shared.tolist()
