"""Label transfer by thresholded centroid similarity: released labels, and a plain loop."""

import numpy as np
import pytest
import torch

from sdcl.association import ranking, transfer
from sdcl.association.transfer import transfer_labels
from sdcl.memory import centroids


@pytest.mark.parametrize("kind,threshold", [("sysu", 0.5), ("regdb", 0.8)])
def test_released_labels_and_memories(parity, kind, threshold):
    a = parity("hil_transfer")
    sides = {s: {b: torch.from_numpy(a[f"{s}_{b}"]) for b in ("deep", "shallow")} for s in ("rgb", "ir")}
    labels = transfer_labels(sides["rgb"], sides["ir"], a["labels_rgb_own"], a["labels_ir"], threshold)
    np.testing.assert_array_equal(labels, a[f"{kind}_label_after"])
    np.testing.assert_array_equal(np.flatnonzero(labels >= 0), a[f"{kind}_keep_rgb"])
    both = np.concatenate((labels, a["labels_ir"]))
    for branch in ("deep", "shallow"):
        rows = centroids(torch.cat([sides[s][branch] for s in ("rgb", "ir")]), both)
        np.testing.assert_allclose(rows, a[f"{kind}_shared_memory_{branch}"], atol=1e-6)


@pytest.mark.parametrize("threshold", [0.3, 0.9, 1.0])
def test_brute_force(monkeypatch, threshold):
    """Key labels with a gap, one branch, chunks smaller than the queries."""
    assert transfer.CHUNK == ranking.CHUNK
    monkeypatch.setattr(transfer, "CHUNK", 7)
    generator = np.random.default_rng(2)
    queries, keys = (
        generator.standard_normal((30, 4)).astype(np.float32),
        generator.standard_normal((25, 4)).astype(np.float32),
    )
    own, labels = generator.integers(-1, 4, 30), generator.choice([-1, 0, 2, 5], 25)

    def cosine(a, b):
        return a @ b / np.linalg.norm(a) / np.linalg.norm(b)

    means = {c: keys[labels == c].mean(0) for c in (0, 2, 5)}
    top = {c: max(cosine(q, m) for q in queries) for c, m in means.items()}
    expected = []
    for q, y in zip(queries, own):
        best = max(means, key=lambda c, q=q: cosine(q, means[c]))
        expected.append(best if y >= 0 and cosine(q, means[best]) >= threshold * top[best] - 1e-7 else -1)
    found = transfer_labels(
        {"deep": torch.from_numpy(queries)}, {"deep": torch.from_numpy(keys)}, own, labels, threshold
    )
    np.testing.assert_array_equal(found, expected)


def test_bad_input_is_named():
    rows = {"deep": torch.randn(5, 3)}
    with pytest.raises(ValueError, match="no image has a cluster"):
        transfer_labels(rows, rows, np.zeros(5, int), np.full(5, -1))
    with pytest.raises(ValueError, match="query_labels"):
        transfer_labels(rows, rows, np.zeros(4, int), np.zeros(5, int))
