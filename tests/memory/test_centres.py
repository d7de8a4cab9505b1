"""Several centres per cluster: released arrays, and clusters that stay whole."""

import numpy as np
import pytest
import torch
from helpers import parity
from torch.nn.functional import normalize

from sdcl.memory.centres import cluster_centres, cluster_groups


@parity.recorded("hil_centres", keys=r"(sysu|regdb)_centres")
def test_released_centres(arrays, key):
    """Given the released partition, and with our own, whose groups may be numbered otherwise."""
    a, (kind,) = arrays, key
    features, labels, expected = torch.from_numpy(a["features"]), a["labels"], a[f"{kind}_centres"]
    k = expected.shape[1] - 1
    centres = cluster_centres(features, labels, a[f"{kind}_kmeans_labels"], k)
    np.testing.assert_allclose(centres, expected, atol=1e-6)
    groups = cluster_groups(features, labels, k)
    divided = [bool((groups[labels == c] >= 0).any()) for c in range(len(expected))]
    np.testing.assert_array_equal(divided, a[f"{kind}_used_kmeans"])
    for label in range(len(expected)):
        pairs = set(zip(groups[labels == label], a[f"{kind}_kmeans_labels"][labels == label]))
        assert len(pairs) == len({g for g, _ in pairs}) == len({g for _, g in pairs})  # the same partition


def test_equals_the_loop():
    """Labels with gaps, outliers, a cluster of exactly k images, a cluster of copies."""
    generator = np.random.default_rng(0)
    features = generator.standard_normal((40, 5)).astype(np.float32)
    labels = np.repeat([-1, 2, 5, 9], [4, 20, 3, 13])
    features[27:] = features[27]
    groups = cluster_groups(torch.from_numpy(features), labels, 3)
    assert (groups[4:24] >= 0).all() and (groups[:4] == -1).all() and (groups[24:] == -1).all()
    centres = cluster_centres(torch.from_numpy(features), labels, groups, 3)
    for row, label in enumerate((2, 5, 9)):
        members = torch.from_numpy(features[labels == label])
        mean = members.mean(0)
        for g in range(3):
            part = members[groups[labels == label] == g] if label == 2 else members
            torch.testing.assert_close(centres[row, 1 + g], normalize(0.9 * mean + 0.1 * part.mean(0), dim=0))
        torch.testing.assert_close(centres[row, 0], normalize(mean, dim=0))


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="k must be at least 1"):
        cluster_groups(torch.randn(4, 3), np.zeros(4, int), 0)
    with pytest.raises(ValueError, match="one for each image"):
        cluster_groups(torch.randn(4, 3), np.zeros(3, int), 2)
