"""CAE and CMLU against the released arrays, and the released slices against a plain reading of them."""

import numpy as np
import pytest
import torch
from helpers import parity
from helpers.brute_force import dense

from sdcl.association import (
    association_embedding,
    heterogeneous_scores,
    majority_of_neighbors,
    memory_slices,
    propagate_labels,
    released_slices,
    unification,
)
from sdcl.clustering import jaccard_distance, pseudo_labels
from sdcl.clustering.density import dbscan


def t(array):
    return torch.from_numpy(array)


@parity.recorded("gur", keys=r"cmlu_(\w+)_scores")
@pytest.mark.parametrize("chunk", [7, 1024])
def test_released_label_unification(arrays, key, monkeypatch, chunk):
    monkeypatch.setattr(unification, "CHUNK", chunk)
    a, dataset, k = arrays, key[0], LIST_LENGTH[key[0]]
    visible, infrared, labels = t(a["cmlu_feat_rgb"]), t(a["cmlu_feat_ir"]), a["cmlu_labels_ir"]
    np.testing.assert_allclose(
        heterogeneous_scores(visible, infrared, labels, k), a[f"cmlu_{dataset}_scores"], atol=1e-6
    )
    found = propagate_labels(visible, infrared, labels, k)
    np.testing.assert_array_equal(found, a[f"cmlu_{dataset}_label_propagated"])
    np.testing.assert_array_equal(
        majority_of_neighbors(found, {"deep": visible}, k), a[f"cmlu_{dataset}_label_smoothed"]
    )


LIST_LENGTH = {"sysu": 20, "regdb": 10}  # as released


def blocks(a, side):
    return t(a[f"percam_{side}"]).split(a[f"percam_{side}_sizes"].tolist())


@parity.recorded("gur")
@pytest.mark.parametrize("side", ["rgb", "ir"])
def test_released_embedding_within_a_modality(arrays, side):
    a = arrays
    found = association_embedding(t(a[f"feat_{side}"]), blocks(a, side))
    np.testing.assert_allclose(found, a[f"intra_emb_{side}"], atol=1e-5)
    distance = dense(jaccard_distance(t(a[f"intra_emb_{side}"]), 30, 6))
    np.testing.assert_allclose(distance, a[f"dist_intra_{side}"], atol=1e-5)
    ids = pseudo_labels(found, eps=0.6, normalize=False).ids
    np.testing.assert_array_equal(ids, a[f"labels_intra_{side}"])


@parity.recorded("gur")
def test_released_embedding_across_modalities(arrays):
    a = arrays
    memories = [t(a["mem_rgb"]), t(a["mem_ir"])]
    found = [association_embedding(t(a[f"feat_{s}"]), memories) for s in ("rgb", "ir")]
    for s, one in zip(("rgb", "ir"), found):
        np.testing.assert_allclose(one, a[f"inter_emb_{s}"], atol=1e-5)
    distance = jaccard_distance(torch.cat(found), 30, 6)
    np.testing.assert_allclose(dense(distance), a["dist_inter_all"], atol=1e-5)
    np.testing.assert_array_equal(dbscan(distance, 0.6).ids, a["labels_inter_all"])


@pytest.mark.parametrize("sizes", [[5], [3, 4], [3, 4, 5, 6], [1, 9, 1, 9], [50, 1, 1, 1, 1]])
def test_slices(sizes):
    assert memory_slices(sizes) == [(sum(sizes[:i]), sum(sizes[: i + 1])) for i in range(len(sizes))]
    columns = np.arange(sum(sizes))
    cumulative = [sum(sizes[: i + 1]) for i in range(len(sizes))]  # what the release stores as the sizes
    expected, start = [], 0
    for width in cumulative[:-1]:
        expected.append(columns[start : start + width])
        start += width
    expected.append(columns[start:])
    for (a, b), right in zip(released_slices(sizes), expected, strict=True):
        np.testing.assert_array_equal(columns[a:b], right)


def test_embedding_with_released_slices_keeps_its_shape():
    features, memories = torch.randn(9, 8), [torch.randn(c, 8) for c in (3, 4, 5)]
    sizes = [3, 4, 5]
    found = association_embedding(features, memories, slices=released_slices(sizes))
    assert found.shape == (9, 12) and torch.isfinite(found).all()
    assert not torch.allclose(found, association_embedding(features, memories))
