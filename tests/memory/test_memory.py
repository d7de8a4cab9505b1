"""Memories against the released arrays and the sequential loop."""

import numpy as np
import pytest
import torch
from helpers import parity

from sdcl.losses import cluster_contrast
from sdcl.memory import ClusterMemory, InstanceMemory, centroids
from sdcl.memory.momentum import sequential_update


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


@parity.recorded("instance_memory")
def test_instance_memory(arrays):
    a = arrays
    memory = InstanceMemory(t(a["memory"]))
    memory.update(t(a["inputs"]), a["indexes"], float(a["momentum"]))
    np.testing.assert_allclose(memory.rows, a["memory_after"], atol=1e-6)


@parity.recorded("instance_memory")
def test_clean_instance_update_ignores_the_norm(arrays):
    a, momentum = arrays, float(arrays["momentum"])
    plain, scaled = InstanceMemory(t(a["memory"])), InstanceMemory(t(a["memory"]))
    plain.update(t(a["inputs"]), a["indexes"], momentum, raw=False)
    scaled.update(7 * t(a["inputs"]), a["indexes"], momentum, raw=False)
    np.testing.assert_allclose(plain.rows, scaled.rows, atol=1e-6)
    assert (plain.rows - t(a["memory_after"])).abs().max() > 0.01


@pytest.mark.parametrize("seed", range(20))
def test_rounds_equal_the_loop(seed):
    generator = np.random.default_rng(seed)
    rows = generator.integers(0, generator.integers(1, 9), generator.integers(0, 50))
    bank = torch.nn.functional.normalize(t(generator.standard_normal((9, 5))))
    values, expected = t(generator.standard_normal((len(rows), 5))), bank.clone()
    for value, row in zip(values, rows):
        new = 0.3 * expected[row] + 0.7 * value
        expected[row] = new / new.norm()
    sequential_update(bank, values, rows, 0.3)
    np.testing.assert_allclose(bank, expected, atol=1e-12)


def test_snapshot_is_not_changed_by_an_update():
    memory = ClusterMemory(torch.eye(3))
    before = memory()
    memory.update(torch.ones(1, 3), np.array([0]), 0.5)
    assert torch.equal(before, torch.eye(3)) and not torch.equal(memory(), before)
