"""Inverse-distance contrast: released arrays, a loop over the samples, and its corner cases."""

import numpy as np
import torch
from helpers import parity
from torch.nn.functional import normalize

from sdcl.losses.inverse_distance import centre_distances, inverse_distance_contrast, nearest_cluster


@parity.recorded("hil_loss", keys=r"(sysu|regdb|empty)_agree_(rgb|ir)")
def test_released_values(arrays, key):
    """Each head alone; the shallow loss of the released code has a factor 1/2. An empty selection, NaN there, is 0 here."""
    a, (kind, short) = arrays, key
    heads = {
        s: (torch.from_numpy(a[f"{kind}_feat_{short}{s}"]), torch.from_numpy(a[f"{kind}_centres{s}"]))
        for s in ("", "_s")
    }
    nearest = {s: nearest_cluster(*pair) for s, pair in heads.items()}
    agree = nearest[""] == nearest["_s"]
    np.testing.assert_array_equal(agree, a[f"{kind}_agree_{short}"])
    for s, (features, centres) in heads.items():
        np.testing.assert_array_equal(nearest[s], a[f"{kind}_nearest{s}_{short}"])
        features = features.requires_grad_()
        loss = (0.5 if s else 1.0) * inverse_distance_contrast(features, centres, agree)
        loss.backward()
        expected, gradient = a[f"{kind}_loss{s}_{short}"], a[f"{kind}_grad{s}_{short}"]
        np.testing.assert_allclose(loss.item(), expected if agree.any() else 0, atol=1e-5)
        np.testing.assert_allclose(features.grad, gradient, atol=max(1e-5 * np.abs(gradient).max(), 1e-12))
        assert np.isnan(expected) == (not agree.any())


def test_equals_the_loop():
    generator = torch.Generator().manual_seed(3)
    features, centres = (
        torch.randn(15, 6, generator=generator),
        normalize(torch.randn(5, 4, 6, generator=generator), dim=2),
    )
    selected, losses = torch.arange(15) % 3 > 0, []
    for feature in features[selected].double():
        distance = (normalize(feature, dim=0) - centres.double()).norm(dim=2)  # (C, K)
        cluster = int(distance.min(1).values.argmin())
        pos = (1 / distance[cluster]).mean()
        neg = sum(1 / distance[c].min() for c in range(5) if c != cluster) / 4
        losses.append(-torch.log(pos / (pos + neg)))
    np.testing.assert_allclose(
        inverse_distance_contrast(features, centres, selected), sum(losses) / len(losses), rtol=1e-5
    )


def test_a_feature_on_a_centre_stays_finite():
    """The released code gives NaN there."""
    centres = normalize(torch.randn(3, 2, 6), dim=2)
    features = torch.cat((centres[0], torch.randn(2, 6))).requires_grad_()
    loss = inverse_distance_contrast(features, centres, torch.ones(4, dtype=torch.bool))
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(features.grad).all()


def test_one_cluster_has_nothing_to_tell_apart():
    features, centres = torch.randn(4, 6).requires_grad_(), normalize(torch.randn(1, 3, 6), dim=2)
    assert abs(inverse_distance_contrast(features, centres, torch.ones(4, dtype=torch.bool)).item()) < 1e-6
    assert centre_distances(features, centres).shape == (4, 1, 3)
