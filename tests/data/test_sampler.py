"""P x K sampling: whole clusters, cameras, replacement, and a function of its seed."""

import numpy as np
import pytest

from sdcl.data import sampler
from sdcl.data.sampler import epoch_batches


def draw(labels, cameras=None, **changes):
    labels = np.asarray(labels)
    cameras = np.ones(len(labels), int) if cameras is None else np.asarray(cameras)
    settings = {"batch_size": 8, "num_instances": 4, "iterations": 5, "seed": (1, 0, 0)} | changes
    return epoch_batches(labels, cameras, **settings)


def test_groups_are_whole_clusters_without_outliers():
    labels = np.repeat([0, 1, 2, -1], 10)
    batches = draw(labels)
    assert batches.shape == (5, 8)
    assert -1 not in labels[batches]
    groups = labels[batches].reshape(-1, 4)
    assert (groups == groups[:, :1]).all()


def test_a_pass_names_every_cluster_once():
    labels = np.repeat(np.arange(6), 5)
    batches = draw(labels, iterations=3)  # 6 clusters x 4 = 3 batches = one pass
    assert sorted(labels[batches].reshape(-1, 4)[:, 0]) == list(range(6))


def test_other_cameras_come_first():
    labels, cameras = np.zeros(20, int), np.r_[np.zeros(14, int), np.ones(6, int)]
    for group in draw(labels, cameras, iterations=30).reshape(-1, 4):
        assert (cameras[group[1:]] != cameras[group[0]]).all()
        assert len(set(group)) == 4  # 6 or 14 others: no replacement
    mixed = [
        set(cameras[g[1:]]) for g in draw(labels, cameras, iterations=30, across_cameras=False).reshape(-1, 4)
    ]
    assert {0, 1} in mixed


def test_replacement_from_exactly_k_minus_one_others():
    repeated = [len(set(g)) < 4 for g in draw(np.zeros(4, int), iterations=50).reshape(-1, 4)]
    assert any(repeated)
    assert all(len(set(g)) == 4 for g in draw(np.zeros(5, int), iterations=50).reshape(-1, 4))


def test_single_image_clusters_shift_the_groups():
    labels = np.array([0, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 3])
    batches = draw(labels, batch_size=10, iterations=20)  # a pass is 1 + 4 + 4 + 1 rows
    for batch in batches:
        assert sorted(labels[batch]) == [0, 1, 1, 1, 1, 2, 2, 2, 2, 3]


def test_short_passes_are_joined():
    assert draw([0, 0, 0, 1, 1, 1], batch_size=64, iterations=3).shape == (3, 64)
    assert draw([0], batch_size=8).shape == (5, 8)


def test_clusters_come_by_label_whatever_the_labels_are():
    """Their order and that of their images decide what a seed draws."""
    labels = np.random.default_rng(0).choice([-1, 0, 3, 4, 90], 200)
    groups = sampler._rows_of_clusters(labels)
    assert len(groups) == 4
    for label, rows in zip([0, 3, 4, 90], groups, strict=True):
        np.testing.assert_array_equal(rows, np.flatnonzero(labels == label))


def test_pure_function_of_its_seed():
    labels = np.repeat(np.arange(9), 7)
    np.testing.assert_array_equal(draw(labels), draw(labels))
    assert (draw(labels) != draw(labels, seed=(1, 1, 0))).any()
    state = np.random.get_state()[1].copy()  # noqa: NPY002 - the global generator must not be touched
    draw(labels)
    assert (np.random.get_state()[1] == state).all()  # noqa: NPY002


def test_nothing_to_sample_is_said():
    with pytest.raises(ValueError, match="no image has a cluster label"):
        draw([-1, -1])
