"""Hungarian matching of clusters: released maps, and all permutations of small cases."""

from itertools import permutations

import numpy as np
import pytest
import torch
from helpers import parity
from torch.nn.functional import normalize

from sdcl.association.matching import UNMATCHED, match_clusters
from sdcl.memory import centroids


@parity.recorded("pgm_matching", keys=r"(ge|eq|lt)_cost")
def test_released_maps(arrays, key):
    a, (case,) = arrays, key
    rows = {}
    for s in ("rgb", "ir"):
        rows[s] = centroids(torch.from_numpy(a[f"{case}_features_{s}"]), a[f"{case}_labels_{s}"])
        means = torch.from_numpy(
            a[f"{case}_centroids_{s}"]
        )  # stored as they are before they are brought to unit length
        np.testing.assert_allclose(rows[s], normalize(means), atol=1e-6)
    found = match_clusters(rows["rgb"], rows["ir"])
    np.testing.assert_array_equal(found.to_infrared, a[f"{case}_rgb_to_ir"])
    np.testing.assert_array_equal(found.to_visible, a[f"{case}_ir_to_rgb"])


@parity.recorded("pgm_matching")
def test_more_than_twice_as_many(arrays):
    """The intended map: the released one mistakes the left-over clusters for one another there."""
    a = arrays
    found = match_clusters(
        torch.from_numpy(a["double_centroids_rgb"]), torch.from_numpy(a["double_centroids_ir"])
    )
    np.testing.assert_array_equal(found.to_infrared, a["double_clean_rgb_to_ir"])
    np.testing.assert_array_equal(found.to_visible, a["double_ir_to_rgb"])
    np.testing.assert_array_equal(found.to_infrared == UNMATCHED, a["double_clean_round_rgb"] == 0)


def cheapest(cost):
    """Least-cost choice of a column for each row, rows not more than columns."""
    return min(
        permutations(range(cost.shape[1]), len(cost)),
        key=lambda columns: cost[range(len(cost)), columns].sum(),
    )


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("larger", [3, 4, 6])
def test_brute_force(seed, larger):
    """Three clusters against three to six, either side the larger one."""
    generator = torch.Generator().manual_seed(seed)
    many, few = (normalize(torch.randn(n, 4, generator=generator)) for n in (larger, 3))
    cost = np.exp(-(many.double() @ few.double().T).numpy())
    of_few = cheapest(cost.T)
    expected = np.full(larger, UNMATCHED)
    expected[list(of_few)] = range(3)
    left = np.flatnonzero(expected == UNMATCHED)
    expected[left] = cheapest(cost[left])
    found, reverse = match_clusters(many, few), match_clusters(few, many)
    np.testing.assert_array_equal(found.to_infrared, expected)
    np.testing.assert_array_equal(found.to_visible, of_few)
    np.testing.assert_array_equal(reverse.to_visible, expected)
    np.testing.assert_array_equal(reverse.to_infrared, of_few)
