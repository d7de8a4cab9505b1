"""Messages of the pure functions about inputs that do not fit; arrays and other float types are accepted."""

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from sdcl.association import (
    association_embedding,
    collaborative_ranking,
    count_matches,
    majority_of_neighbors,
    propagate_labels,
)
from sdcl.clustering import dbscan, jaccard_distance, nearest_neighbors, pseudo_labels
from sdcl.data.sampler import epoch_batches
from sdcl.losses import cluster_contrast, neighbor_contrast
from sdcl.memory import ClusterMemory, InstanceMemory, centroids

X = torch.nn.functional.normalize(torch.randn(40, 8, generator=torch.Generator().manual_seed(0)))
LABELS = np.arange(40) // 4
EMPTY = torch.zeros(0, 8)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: centroids(X, LABELS[:30]), "labels must be 40 integers"),
        (lambda: centroids(X, LABELS.astype(float)), "labels must be 40 integers"),
        (lambda: centroids(EMPTY, LABELS[:0]), "non-empty"),
        (lambda: centroids(X, LABELS - 5), "-1 .outlier. or more"),
        (lambda: ClusterMemory(X[:4]).update(X[:2], np.array([-1, 0]), 0.1), "outliers, -1, have none"),
        (
            lambda: ClusterMemory(X[:4]).update(X[:2], np.array([-1, 0]), 0.1, hardest=True),
            "outliers, -1, have none",
        ),
        (lambda: ClusterMemory(X[:4]).update(X[:2], np.array([4, 0]), 0.1), "rows 0..3"),
        (lambda: InstanceMemory(X).update(X[:2], np.array([1]), 0.1), "2 integers"),
        (lambda: collaborative_ranking({"deep": X}, {"deep": X}, LABELS[:30]), "key_labels must be 40"),
        (lambda: collaborative_ranking({"deep": X}, {"deep": X}, LABELS, k=0), "k must be at least 1"),
        (
            lambda: collaborative_ranking({"deep": X}, {"deep": EMPTY}, LABELS[:0]),
            r"keys\['deep'\] must be a non-empty",
        ),
        (lambda: majority_of_neighbors(LABELS[:0], {"deep": EMPTY}), "non-empty"),
        (lambda: propagate_labels(X, EMPTY, LABELS[:0]), "keys must be a non-empty"),
        (lambda: propagate_labels(X, X, np.r_[LABELS, LABELS]), "key_labels must be 40"),
        (lambda: count_matches(X[:30], X, LABELS, LABELS), "visible_labels must be 30"),
        (lambda: association_embedding(X, []), "at least one memory"),
        (
            lambda: epoch_batches(LABELS, LABELS, batch_size=0, num_instances=4, iterations=1, seed=(1,)),
            "batch_size must be at least 1",
        ),
        (
            lambda: epoch_batches(LABELS, LABELS, batch_size=4, num_instances=4, iterations=0, seed=(1,)),
            "iterations must be at least 1",
        ),
        (lambda: pseudo_labels(EMPTY, eps=0.5), "non-empty"),
        (lambda: jaccard_distance(X[0]), "non-empty"),
        (lambda: nearest_neighbors(X, 0), "at least one entry"),
        (lambda: dbscan(np.zeros((3, 4)), 0.5), "N, N"),
    ],
)  # fmt: skip
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_arrays_gradients_and_other_floats():
    distance = jaccard_distance(X, 8, 3)
    expected = dbscan(distance, 0.7, 2).ids
    assert expected.max() > 0
    for features in (X.numpy(), X.double(), X.clone().requires_grad_()):
        assert np.array_equal(pseudo_labels(features, k1=8, k2=3, eps=0.7, min_samples=2).ids, expected)
        assert_close(jaccard_distance(features, 8, 3).toarray(), distance.toarray())
    dense = np.ones((40, 40), np.float32)
    rows, columns = distance.nonzero()
    dense[rows, columns] = distance.toarray()[rows, columns]
    dense[distance.toarray() == 0] = 1  # not stored is 1 ...
    np.fill_diagonal(dense, 0)
    assert np.array_equal(dbscan(dense, 0.7, 2).ids, expected)
    assert_close(centroids(X.half(), LABELS), centroids(X.half().float(), torch.as_tensor(LABELS)))
    bank = centroids(X.double(), LABELS)
    assert bank.dtype == torch.float32
    labels = torch.as_tensor(LABELS)
    assert_close(cluster_contrast(X, labels, bank.double()), cluster_contrast(X, labels, bank))
    near = torch.eye(40, 10) > 0
    assert_close(neighbor_contrast(X, near, bank.double()), neighbor_contrast(X, near, bank))
    assert np.array_equal(propagate_labels(X, X.double(), LABELS), propagate_labels(X, X, LABELS))
