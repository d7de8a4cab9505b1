"""The margin of the hybrid contrast."""

import numpy as np
import torch
import torch.nn.functional as F
from helpers import parity

from sdcl.losses.hybrid import hybrid_contrast


@parity.recorded("bmil_memory")
def test_parts(arrays):
    a = arrays
    for family in ("above", "below", "fresh"):
        features, labels = torch.from_numpy(a[f"{family}_inputs"]), torch.from_numpy(a[f"{family}_targets"])
        mean, hard = torch.from_numpy(a[f"{family}_memory"]).chunk(2)
        cross = [F.cross_entropy(F.normalize(features) @ rows.T / 0.05, labels) for rows in (mean, hard)]
        for value, name in zip(cross, ("ce_mean", "ce_hard")):
            np.testing.assert_allclose(value, a[f"{family}_m01_{name}"], atol=1e-5)
        expected = 0.5 * (cross[1] + max(cross[0] - 0.2, 0))
        torch.testing.assert_close(hybrid_contrast(features, labels, mean, hard), torch.as_tensor(expected))


def test_below_the_margin_the_mean_rows_give_no_gradient():
    """The batch as a whole is below it, a sample of its own is not."""
    mean, hard = torch.eye(4), torch.eye(4).roll(1, 0)
    features = torch.eye(4).repeat(3, 1)
    features[0] = F.normalize(torch.tensor([1.0, 1.01, 0, 0]), dim=0)
    labels = torch.arange(4).repeat(3)
    gradients = []
    for rows in (mean, torch.randn(4, 4)):
        inputs = features.clone().requires_grad_()
        loss = hybrid_contrast(inputs, labels, rows, hard, margin=0.2 if rows is mean else 99.0)
        loss.backward()
        gradients.append(inputs.grad)
    assert torch.equal(*gradients) and gradients[0].abs().max() > 0
