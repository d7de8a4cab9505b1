"""Label transfer by thresholded centroid similarity: released labels, and a plain loop."""

import numpy as np
import pytest
import torch
from helpers import parity

from sdcl.association import ranking, transfer
from sdcl.association.transfer import transfer_labels
from sdcl.memory import centroids


@parity.recorded("hil_transfer", keys="(sysu|regdb)_label_after")
def test_released_labels_and_memories(arrays, key):
    a, (kind,) = arrays, key
    threshold = {"sysu": 0.5, "regdb": 0.8}[kind]
    sides = {s: {b: torch.from_numpy(a[f"{s}_{b}"]) for b in ("deep", "shallow")} for s in ("rgb", "ir")}
    visible, infrared = (torch.cat(list(features.values()), 1) for features in sides.values())
    rows = centroids(infrared, a["labels_ir"])
    labels = transfer_labels(visible, a["labels_rgb_own"], rows, threshold)
    np.testing.assert_array_equal(labels, a[f"{kind}_label_after"])
    np.testing.assert_array_equal(np.flatnonzero(labels >= 0), a[f"{kind}_keep_rgb"])
    both = np.concatenate((labels, a["labels_ir"]))
    for branch in ("deep", "shallow"):
        rows = centroids(torch.cat([sides[s][branch] for s in ("rgb", "ir")]), both)
        np.testing.assert_allclose(rows, a[f"{kind}_shared_memory_{branch}"], atol=1e-6)


@pytest.mark.parametrize("threshold", [0.3, 0.9, 1.0])
def test_brute_force(monkeypatch, threshold):
    """Chunks smaller than the images; the best image of a centroid may be an outlier."""
    assert transfer.CHUNK == ranking.CHUNK
    monkeypatch.setattr(transfer, "CHUNK", 7)
    generator = np.random.default_rng(2)
    images, means = (generator.standard_normal((n, 4)).astype(np.float32) for n in (30, 5))
    labels = generator.integers(-1, 4, 30)

    def cosine(a, b):
        return a @ b / np.linalg.norm(a) / np.linalg.norm(b)

    top = [max(cosine(x, m) for x in images) for m in means]
    expected = []
    for x, y in zip(images, labels):
        best = max(range(5), key=lambda c, x=x: cosine(x, means[c]))
        expected.append(best if y >= 0 and cosine(x, means[best]) >= threshold * top[best] - 1e-7 else -1)
    found = transfer_labels(torch.from_numpy(images), labels, torch.from_numpy(means), threshold)
    np.testing.assert_array_equal(found, expected)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="labels must be 5"):
        transfer_labels(torch.randn(5, 3), np.zeros(4, int), torch.randn(2, 3))
    with pytest.raises(ValueError, match="centroids must be a non-empty"):
        transfer_labels(torch.randn(5, 3), np.zeros(5, int), torch.randn(0, 3))
