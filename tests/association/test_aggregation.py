"""CMA: the released arrays, and a brute-force form on other sizes."""

from collections import Counter

import numpy as np
import pytest
import torch
from helpers import parity

from sdcl.association import aggregate, aggregation, count_matches, one_to_one
from sdcl.memory import centroids


def t(array):
    return torch.from_numpy(array)


@parity.recorded("adca_cma")
def test_released_aggregation(arrays):
    a = arrays
    table = count_matches(t(a["feat_rgb"]), t(a["feat_ir"]), a["labels_rgb"], a["labels_ir"])
    np.testing.assert_array_equal(table, a["count_table"])
    assert table[:, 2].sum() == a["num_pairs_above"]
    pairs = one_to_one(table)
    np.testing.assert_array_equal(pairs, a["pairs"])
    memories = {s: centroids(t(a[f"feat_{s}"]), a[f"labels_{s}"]) for s in ("rgb", "ir")}
    for s, rows in memories.items():
        np.testing.assert_allclose(rows, a[f"memory_{s}_before"], atol=1e-6)
    np.testing.assert_allclose(
        aggregate(memories["rgb"], memories["ir"], pairs), a["memory_rgb_cma"], atol=1e-6
    )
    np.testing.assert_allclose(
        memories["ir"], a["memory_ir_cma"], atol=1e-6
    )  # the released update of these is x <- x


@pytest.mark.parametrize("chunk", [3, 1024])
@pytest.mark.parametrize("seed", range(3))
def test_count_matches_against_all_pairs_in_order(monkeypatch, chunk, seed):
    monkeypatch.setattr(aggregation, "CHUNK", chunk)
    g = np.random.default_rng(seed)
    v, r = (g.standard_normal((n, 6)).astype(np.float32) for n in (17, 23))
    a, b = g.integers(-1, 4, 17), g.integers(-1, 5, 23)
    pairs = sorted(
        ((float(t(v[i]) @ t(r[j])), a[i], b[j]) for i in range(17) for j in range(23)), reverse=True
    )
    counted = Counter((x, y) for s, x, y in pairs if s >= 0.5)
    expected = [
        (x, y, n) for (x, y), n in sorted(counted.items(), key=lambda item: -item[1])
    ]  # stable: order of first appearance
    assert [tuple(row) for row in count_matches(t(v), t(r), a, b)] == expected


def test_nothing_similar_gives_no_pair_and_moves_nothing():
    v, r = torch.eye(4)[:2], torch.eye(4)[2:]
    table = count_matches(v, r, np.array([0, 1]), np.array([0, 1]))
    assert table.shape == (0, 3) and one_to_one(table).shape == (0, 2)
    assert torch.equal(aggregate(v, r, one_to_one(table)), v)
