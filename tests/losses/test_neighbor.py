"""The one-pass neighbour loss against autograd: values, gradients, and gradients at updated memories."""

import pytest
import torch
import torch.nn.functional as F

from sdcl.losses import neighbor as module
from sdcl.losses import neighbor_contrast
from sdcl.losses.contrast import similarity


def plain(features, neighbors, bank, temperature, gradient_bank=None):
    logits = similarity(F.normalize(features), bank, gradient_bank) / temperature
    surprise = -F.log_softmax(logits, dim=1).clamp(min=module.FLOOR)
    return ((surprise * neighbors).sum(1) / (1 + neighbors.sum(1))).mean()


@pytest.mark.parametrize("moved", [False, True])
@pytest.mark.parametrize("cells", [1, 500, 10**9])
@pytest.mark.parametrize("temperature", [0.05, 0.02])
def test_one_pass_equals_autograd(monkeypatch, cells, moved, temperature):
    monkeypatch.setattr(module, "CELLS", cells)
    g = torch.Generator().manual_seed(0)
    features = 5 * torch.randn(13, 16, generator=g)
    bank, late = (F.normalize(torch.randn(97, 16, generator=g)) for _ in range(2))
    neighbors = torch.rand(13, 97, generator=g) < 0.1
    neighbors[4] = False  # an anchor without any
    bank[7] = -F.normalize(features[2], dim=0)  # a neighbour below the floor
    neighbors[2, 7] = True
    found = []
    for loss in (plain, neighbor_contrast):
        x = features.clone().requires_grad_()
        value = loss(x, neighbors, bank, temperature, late if moved else None)
        (3 * value).backward()
        found.append((value.detach(), x.grad))
    (value, gradient), (fast, fast_gradient) = found
    assert fast.item() == pytest.approx(value.item(), rel=1e-5)
    assert torch.allclose(fast_gradient, gradient, atol=1e-5 * float(gradient.abs().max()))
    if temperature == 0.02:
        assert (F.log_softmax(F.normalize(features) @ bank.T / temperature, 1)[2, 7] < module.FLOOR).item()


def test_a_step_on_the_features_lowers_the_loss():
    x, bank = torch.randn(6, 8), F.normalize(torch.randn(20, 8))
    neighbors = F.normalize(x) @ bank.T > 0.2
    x.requires_grad_()
    before = neighbor_contrast(x, neighbors, bank)
    (gradient,) = torch.autograd.grad(before, x)
    assert neighbor_contrast((x - 0.1 * gradient).detach(), neighbors, bank) < before
