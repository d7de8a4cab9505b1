"""Label refinement against a plain loop; ties, outliers, and images without a common label."""

import numpy as np
import pytest
import torch

from sdcl.association import refinement
from sdcl.association.refinement import refine_labels


def cosine(a, b):
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


@pytest.mark.parametrize("k,nearest", [(1, 1), (7, 3), (20, 5), (500, 500)])
def test_brute_force(monkeypatch, k, nearest):
    """Chunks smaller than the images; lists longer than the images and clusters."""
    monkeypatch.setattr(refinement, "CHUNK", 7)
    generator = np.random.default_rng(k)
    queries, keys, clusters = (generator.standard_normal((n, 4)).astype(np.float32) for n in (30, 40, 8))
    labels = generator.integers(-1, 8, 40)
    expected = []
    for query in queries:
        images = sorted(range(40), key=lambda j, q=query: -cosine(q, keys[j]))[:k]
        counts = {}
        for c in sorted(range(8), key=lambda c, q=query: -cosine(q, clusters[c]))[:nearest]:
            counts[c] = sum(labels[j] == c for j in images)  # in order of rank
        best = max(counts, key=counts.get)  # the first of equal ones
        expected.append(best if counts[best] else -1)
    found = refine_labels(
        *map(torch.from_numpy, (queries, keys)), labels, torch.from_numpy(clusters), k, nearest
    )
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == np.int64 and (k > 1 or -1 in found)


def test_equal_counts_go_to_the_better_rank():
    """Two images of each cluster are near; cluster 1 is nearer than cluster 0, and 2 is not listed."""
    query = torch.tensor([[1.0, 0.0]])
    keys = torch.tensor(
        [[1.0, 0.1], [1.0, -0.1], [1.0, 0.2], [1.0, -0.2], [1.0, 0.0], [1.0, 0.05], [1.0, 0.01]]
    )
    clusters = torch.tensor([[1.0, 0.5], [1.0, -0.1], [-1.0, 0.0]])
    labels = np.array([0, 1, 0, 1, 2, 2, 2])
    assert refine_labels(query, keys, labels, clusters, 7, 2).tolist() == [1]
    assert refine_labels(query, keys, labels, clusters, 3, 2).tolist() == [-1]  # all three are of cluster 2


def test_bad_input_is_named():
    rows, clusters = torch.randn(4, 3), torch.randn(2, 3)
    with pytest.raises(ValueError, match="key_labels must be 4"):
        refine_labels(rows, rows, np.zeros(3, int), clusters)
    with pytest.raises(ValueError, match="only 2 clusters"):
        refine_labels(rows, rows, np.array([0, 1, 2, -1]), clusters)
    with pytest.raises(ValueError, match="nearest must be at least 1"):
        refine_labels(rows, rows, np.zeros(4, int), clusters, nearest=0)
