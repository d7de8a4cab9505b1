"""ClusterNCE against its formula, and gradients at updated rows; released numbers are in
memory/test_cluster.py.
"""

import pytest
import torch
import torch.nn.functional as F

from sdcl.losses import cluster_contrast
from sdcl.losses.contrast import similarity


def tensors():
    generator = torch.Generator().manual_seed(0)
    features = 3 * torch.randn(7, 5, generator=generator)
    bank, updated = (F.normalize(torch.randn(4, 5, generator=generator)) for _ in range(2))
    return features.requires_grad_(), torch.tensor([0, 3, 1, 0, 2, 2, 3]), bank, updated


def test_value_and_gradient_are_those_of_the_formula():
    features, labels, bank, _ = tensors()
    loss = cluster_contrast(features, labels, bank, 0.1)
    expected = 0
    for feature, label in zip(features, labels):
        logits = bank @ (feature / feature.norm()) / 0.1
        expected = expected - (logits[label] - logits.logsumexp(0)) / len(features)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    for ours, theirs in zip(torch.autograd.grad(loss, features), torch.autograd.grad(expected, features)):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_the_gradient_can_use_updated_rows():
    """Probabilities from the old rows, directions from the new ones: (p - onehot) bank' / (B tau)."""
    features, labels, bank, updated = tensors()
    unit = F.normalize(features.detach()).requires_grad_()
    loss = F.cross_entropy(similarity(unit, bank, updated) / 0.1, labels)
    (gradient,) = torch.autograd.grad(loss, unit)
    push = (unit @ bank.T / 0.1).softmax(1) - F.one_hot(labels, len(bank))
    torch.testing.assert_close(gradient, push @ updated / 0.1 / len(labels))


def test_no_gradient_reaches_the_memory():
    features, labels, bank, updated = tensors()
    bank.requires_grad_(), updated.requires_grad_()
    cluster_contrast(features, labels, bank, gradient_bank=updated).backward()
    assert bank.grad is None and updated.grad is None and features.grad is not None


def test_a_step_on_the_features_lowers_the_loss():
    features, labels, bank, _ = tensors()
    before = cluster_contrast(features, labels, bank)
    (gradient,) = torch.autograd.grad(before, features)
    assert cluster_contrast((features - 0.1 * gradient).detach(), labels, bank) < before
