"""Progressive graph matching's use of one memory by both modalities (PGM, CVPR 2023) against the released arrays."""

import numpy as np
import torch
from helpers import parity

from sdcl.losses import cluster_contrast
from sdcl.memory import ClusterMemory


def same_gradient(found, expected):
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


@parity.recorded("pgm_memory", keys=r"(plain|hard)_memory_after")
def test_two_iterations(arrays, key):
    a, (kind,) = arrays, key
    memory = ClusterMemory(torch.from_numpy(a["memory"]))
    for suffix, step in (("", ""), ("2", "step2_")):
        features, labels = torch.from_numpy(a[f"inputs{suffix}"]).requires_grad_(), a[f"targets{suffix}"]
        loss = cluster_contrast(features, torch.from_numpy(labels), memory(), float(a["temp"]))
        loss.backward()
        memory.update(features.detach(), labels, float(a["momentum"]), hardest=kind == "hard")
        np.testing.assert_allclose(loss.item(), a[f"{kind}_{step}loss"], atol=1e-5)
        same_gradient(features.grad, a[f"{kind}_{step}grad"])
        np.testing.assert_allclose(memory(), a[f"{kind}_{step}memory_after"], atol=1e-6)


@parity.recorded("pgm_memory", keys=r"(plain|hard)_pair_memory_after")
def test_own_and_cross_term(arrays, key):
    """The cross term moves the rows first, with its whole weight; the own gradient meets them moved."""
    a, (kind,) = arrays, key
    memory, hardest = ClusterMemory(torch.from_numpy(a["memory"])), kind == "hard"
    temperature, momentum = float(a["temp"]), float(a["momentum"])
    own, cross, clean = (
        torch.from_numpy(a[n]).requires_grad_() for n in ("inputs", "inputs_cross", "inputs")
    )
    before = memory()
    memory.update(cross.detach(), a["targets_cross"], momentum, hardest=hardest)
    own_loss = cluster_contrast(own, torch.from_numpy(a["targets"]), before, temperature, memory())
    cross_loss = cluster_contrast(cross, torch.from_numpy(a["targets_cross"]), before, temperature)
    memory.update(own.detach(), a["targets"], momentum, hardest=hardest)
    total = own_loss + float(a["weight_cross"]) * cross_loss
    total.backward()
    for value, name in ((own_loss, "own"), (cross_loss, "cross"), (total, "total")):
        np.testing.assert_allclose(value.item(), a[f"{kind}_pair_loss_{name}"], atol=1e-5)
    same_gradient(own.grad, a[f"{kind}_pair_grad_own"])
    same_gradient(cross.grad, a[f"{kind}_pair_grad_cross"])
    np.testing.assert_allclose(memory(), a[f"{kind}_pair_memory_after"], atol=1e-6)
    cluster_contrast(clean, torch.from_numpy(a["targets"]), before, temperature).backward()
    same_gradient(clean.grad, a[f"{kind}_pair_gradclean_own"])
