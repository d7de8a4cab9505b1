"""The hybrid memory against the released arrays and against loops."""

import numpy as np
import pytest
import torch
from helpers import parity
from torch.nn.functional import normalize

from sdcl.losses.hybrid import hybrid_contrast
from sdcl.memory.hybrid import HybridMemory, least_similar

MOMENTUM = {"m01": 0.1, "m09": 0.9}


def memory_of(rows):
    """The arrays hold the mean rows and then the hard rows."""
    memory = HybridMemory(torch.from_numpy(rows[: len(rows) // 2]))
    memory.hard.copy_(torch.from_numpy(rows[len(rows) // 2 :]))
    return memory


@parity.recorded("bmil_memory", keys=r"(above|below|fresh)_(m\d+)_memory_after")
def test_released_steps(arrays, key):
    """Two iterations: loss, gradient, and what becomes of both kinds of rows."""
    a, (family, tag) = arrays, key
    momentum = MOMENTUM[tag]
    memory = memory_of(a[f"{family}_memory"])
    for suffix, step in (("", ""), ("2", "step2_")):
        features = torch.from_numpy(a[f"{family}_inputs{suffix}"]).requires_grad_()
        labels, prefix = a[f"{family}_targets{suffix}"], f"{family}_{tag}_{step}"
        loss = hybrid_contrast(
            features, torch.from_numpy(labels), *memory(), float(a["temp"]), float(a["margin"])
        )
        loss.backward()
        memory.update(features.detach(), labels, momentum)
        np.testing.assert_allclose(loss.item(), a[prefix + "loss"], atol=1e-5)
        gradient = a[prefix + "grad"]
        np.testing.assert_allclose(features.grad, gradient, atol=1e-5 * np.abs(gradient).max())
        np.testing.assert_allclose(torch.cat(memory()), a[prefix + "memory_after"], atol=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_update_equals_the_loop(seed):
    generator = torch.Generator().manual_seed(seed)
    memory = HybridMemory(normalize(torch.randn(7, 5, generator=generator)))
    memory.hard.copy_(normalize(torch.randn(7, 5, generator=generator)))
    features, labels = (
        torch.randn(23, 5, generator=generator),
        torch.randint(0, 6, (23,), generator=generator).numpy(),
    )
    mean, hard = memory()
    memory.update(features, labels, 0.3)
    for cluster in range(7):
        members = normalize(features[labels == cluster])
        if len(members):
            worst = members[(members @ mean[cluster]).argmin()]
            mean[cluster] = normalize(0.3 * mean[cluster] + 0.7 * members.mean(0), dim=0)
            hard[cluster] = normalize(0.3 * hard[cluster] + 0.7 * worst, dim=0)
    torch.testing.assert_close(memory.mean, mean)
    torch.testing.assert_close(memory.hard, hard)


def test_of_equally_unlike_samples_the_first_is_hardest():
    similarity, group = torch.tensor([0.5, 0.1, 0.1, 0.3, 0.3]), torch.tensor([0, 0, 0, 1, 1])
    assert least_similar(similarity, group, 2).tolist() == [1, 3]


def test_snapshots_stay_and_outliers_have_no_row():
    memory = HybridMemory(torch.eye(3))
    before = memory()
    memory.update(torch.ones(1, 3), np.array([0]), 0.5)
    assert all(torch.equal(rows, torch.eye(3)) for rows in before)
    assert not any(torch.equal(rows, torch.eye(3)) for rows in memory())
    with pytest.raises(ValueError, match="outliers"):
        memory.update(torch.ones(1, 3), np.array([-1]), 0.5)
