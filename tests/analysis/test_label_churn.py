"""Label churn against all pairs by hand; that numbers of labels mean nothing; what is left out; that it
survives the disk.
"""

import itertools

import numpy as np
import pytest
import torch

from sdcl.analysis.label_churn import LabelChurn, label_churn
from sdcl.clustering import LabelSet, PseudoLabels


def labels(ids):
    ids = np.asarray(ids, np.int64)
    return PseudoLabels(ids, int(ids.max(initial=-1)) + 1)


def sets(rows=None, **named):
    return [LabelSet(name, name.partition("_")[0], labels(ids), rows) for name, ids in named.items()]


def by_pairs(old, new):
    """1 - adjusted Rand index, from its definition over all pairs of images that both clusterings kept."""
    kept = [i for i in range(len(old)) if old[i] >= 0 and new[i] >= 0]
    pairs = list(itertools.combinations(kept, 2))
    same_old = sum(old[i] == old[j] for i, j in pairs)
    same_new = sum(new[i] == new[j] for i, j in pairs)
    both = sum(old[i] == old[j] and new[i] == new[j] for i, j in pairs)
    chance = same_old * same_new / len(pairs)
    return 1 - (both - chance) / ((same_old + same_new) / 2 - chance)


def test_against_all_pairs():
    draw = np.random.default_rng(0)
    for _ in range(20):
        old, new = draw.integers(-1, 5, (2, 40))
        found = label_churn(old, labels(new))
        assert found["churn"] == pytest.approx(by_pairs(old, new), abs=1e-12)
        assert found["outlier_churn"] == pytest.approx(
            np.mean([(a < 0) != (b < 0) for a, b in zip(old, new)])
        )


def test_only_the_partition_counts():
    old = np.array([0, 0, 1, 1, 2, 2, -1])
    assert label_churn(old, labels([2, 2, 0, 0, 1, 1, -1])) == {"churn": 0.0, "outlier_churn": 0.0}
    moved = label_churn(old, labels([5, 5, 5, 5, 1, -1, 1]))
    assert moved["churn"] > 0.3 and moved["outlier_churn"] == pytest.approx(2 / 7)
    draw = np.random.default_rng(1)
    assert label_churn(draw.integers(0, 10, 2000), labels(draw.integers(0, 10, 2000)))[
        "churn"
    ] == pytest.approx(1, abs=0.01)


def test_nothing_in_common_tells_nothing():
    assert label_churn(np.array([-1, -1, 0]), labels([0, 0, -1])) == {"outlier_churn": 1.0}
    assert label_churn(np.zeros(0, int), labels([])) == {"outlier_churn": 0.0}


def test_from_epoch_to_epoch():
    churn, first = LabelChurn(), {"visible": {}, "infrared": {}}
    churn.update(sets(visible=[0, 0, 1, 1], infrared=[0, 1]), first)
    assert first == {"visible": {}, "infrared": {}}  # nothing came before
    second = {"visible": {"clusters": 2}, "infrared": {}, "visible_joint": {}}
    churn.update(
        sets(visible=[0, 1, 1, 0])
        + sets(visible=[1, 1, 0, 0], infrared=[0, 0, 1], visible_joint=[0, 0, 1, 1]),
        second,
    )
    assert second["visible"] == {
        "clusters": 2,
        "churn": 0.0,
        "outlier_churn": 0.0,
    }  # of the same name the last
    assert second["infrared"] == {} and second["visible_joint"] == {}  # another number of images; new
    third = {"visible_joint": {}}
    churn.update(sets(visible_joint=[0, 1, 1, 1]), third)
    assert set(third["visible_joint"]) == {"churn", "outlier_churn"}
    assert set(churn.previous) == {"visible_joint"}


def test_labels_of_some_images_are_compared_on_those():
    churn, row = LabelChurn(), {"infrared_camera_3": {}}
    rows = np.array([1, 2])
    churn.update(sets(rows, infrared_camera_3=[-1, 0, 0, -1]), dict(row))
    churn.update(sets(rows, infrared_camera_3=[-1, 0, -1, -1]), row)
    assert row["infrared_camera_3"]["outlier_churn"] == 0.5


def test_images_that_only_one_of_two_epochs_clustered_do_not_count(tmp_path):
    """BMIL clusters another half of the visible images in every epoch."""
    churn, row = LabelChurn(), {"visible_joint": {}}
    churn.update(sets(np.array([0, 1, 2, 3]), visible_joint=[0, 0, 1, -1, -1, -1]), {"visible_joint": {}})
    torch.save([churn.state(), churn.about], tmp_path / "labels.pt")
    again = LabelChurn()
    again.load(*torch.load(tmp_path / "labels.pt", weights_only=True))
    again.update(sets(np.array([1, 2, 3, 4]), visible_joint=[-1, 5, 6, 6, 6, -1]), row)
    assert row["visible_joint"]["outlier_churn"] == pytest.approx(1 / 3)  # of images 1, 2 and 3


def test_a_copy_from_the_disk_goes_on_alike(tmp_path):
    one, other = LabelChurn(), LabelChurn()
    one.update(sets(visible=[0, 0, 1, -1]), {"visible": {}})
    torch.save([one.state(), one.about], tmp_path / "labels.pt")
    other.load(*torch.load(tmp_path / "labels.pt", weights_only=True))
    summaries = [{"visible": {}}, {"visible": {}}]
    for churn, row in zip((one, other), summaries):
        churn.update(sets(visible=[0, 1, 1, 0]), row)
    assert summaries[0] == summaries[1] and summaries[0]["visible"]["outlier_churn"] == 0.25
