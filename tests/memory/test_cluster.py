"""Centroids and the cluster memory against the released arrays."""

import numpy as np
import pytest
import torch
from helpers import parity

from sdcl.losses import cluster_contrast
from sdcl.memory import ClusterMemory, InstanceMemory, centroids


def t(array):
    return torch.from_numpy(np.asarray(array))


@parity.recorded("centroids")
@pytest.mark.parametrize("labels,expected", [("labels", "centroid"), ("labels_gap", "centroid_gap")])
def test_centroids(arrays, labels, expected):
    np.testing.assert_allclose(centroids(t(arrays["features"]), arrays[labels]), arrays[expected], atol=1e-5)
    with pytest.raises(ValueError, match="no image has a cluster"):
        centroids(t(arrays["features"]), np.full(len(arrays["features"]), -1))


HARDEST = {"cm": False, "hard": True}
MOMENTUM = {"m01": 0.1, "m09": 0.9}


@parity.recorded("cluster_memory", keys=r"(cm|hard)_(m\d+)_memory_after")
def test_cluster_memory(arrays, key):
    a, hardest, momentum = arrays, HARDEST[key[0]], MOMENTUM[key[1]]
    prefix = "_".join(key) + "_"
    memory = ClusterMemory(t(a["memory"]))
    for inputs, targets, step in (("inputs", "targets", ""), ("inputs2", "targets2", "step2_")):
        features = t(a[inputs]).requires_grad_()
        loss = cluster_contrast(features, t(a[targets]), memory(), float(a["temp"]))
        loss.backward()
        memory.update(features.detach(), a[targets], momentum, hardest=hardest)
        np.testing.assert_allclose(loss.item(), a[f"{prefix}{step}loss"], atol=1e-5)
        np.testing.assert_allclose(features.grad, a[f"{prefix}{step}grad"], atol=1e-5)
        np.testing.assert_allclose(memory.rows, a[f"{prefix}{step}memory_after"], atol=1e-5)


@parity.recorded("cluster_memory", keys=r"(cm|hard)_(m\d+)_shared_memory_after")
def test_memory_shared_by_two_terms(arrays, key):
    """The later term updates first; the earlier term's gradient meets the updated rows."""
    a, hardest, momentum = arrays, HARDEST[key[0]], MOMENTUM[key[1]]
    first, second = t(a["inputs"]).requires_grad_(), t(a["inputs2"]).requires_grad_()
    memory = ClusterMemory(t(a["memory"]))
    before = memory()
    memory.update(second.detach(), a["targets2"], momentum, hardest=hardest)
    loss1 = cluster_contrast(first, t(a["targets"]), before, float(a["temp"]), gradient_bank=memory())
    loss2 = cluster_contrast(second, t(a["targets2"]), before, float(a["temp"]))
    memory.update(first.detach(), a["targets"], momentum, hardest=hardest)
    (loss1 + loss2).backward()
    prefix = "_".join(key) + "_shared_"
    for found, name in ((loss1, "loss1"), (loss2, "loss2"), (first.grad, "grad1"), (second.grad, "grad2")):
        np.testing.assert_allclose(found.detach(), a[prefix + name], atol=1e-5)
    np.testing.assert_allclose(memory.rows, a[prefix + "memory_after"], atol=1e-5)


def test_snapshot_is_not_changed_by_an_update():
    memory = ClusterMemory(torch.eye(3))
    before = memory()
    memory.update(torch.ones(1, 3), np.array([0]), 0.5)
    assert torch.equal(before, torch.eye(3)) and not torch.equal(memory(), before)


def test_replace_takes_prototypes_as_they_are():
    memory = ClusterMemory(torch.eye(3))
    memory.replace(2 * torch.eye(3))
    assert torch.equal(memory.rows, 2 * torch.eye(3))
    with pytest.raises(ValueError, match=r"\(3, 3\)"):
        memory.replace(torch.eye(2))


def test_the_buffer_has_the_name_that_checkpoints_hold():
    assert list(ClusterMemory(torch.eye(2)).state_dict()) == ["rows"]
    assert list(InstanceMemory(torch.eye(2)).state_dict()) == ["rows"]
