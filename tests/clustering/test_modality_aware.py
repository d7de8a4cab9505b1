"""The modality-aware Jaccard distance against the released arrays, against a plain dense form, and shared
between processes.
"""

import numpy as np
import pytest
import torch
from helpers import parity
from helpers.brute_force import dense
from sklearn.cluster import DBSCAN

from sdcl.clustering import dbscan
from sdcl.clustering import modality_aware as module
from sdcl.clustering.modality_aware import (
    joint_pseudo_labels,
    modality_aware_distance,
    nearest_of_each_modality,
    partial_lists,
)

BACKENDS = ["torch", "faiss", "faiss-ivf"]  # the last probes every list of so few images


def brute_force(visible, infrared, k1, k2):
    """FIXTURES-BMIL item B1, literally, in float64."""
    x = np.concatenate((visible, infrared)).astype(np.float64)
    count, border = len(x), len(visible)
    similarity = x @ x.T
    order = np.argsort(-similarity, axis=1, kind="stable")
    lists = [
        [[j for j in order[i] if (j >= border) == bool(m)][: k1 // 2] for i in range(count)] for m in (0, 1)
    ]  # modality -> image -> its nearest
    ranks = [sorted(lists[0][i] + lists[1][i], key=lambda j, i=i: -similarity[i, j]) for i in range(count)]

    def reciprocal(i, length):
        return {j for j in ranks[i][:length] if i in ranks[j][:length]}

    half = round(k1 / 2) + 1
    weights = np.zeros((count, count))
    for i in range(count):
        members = set(mutual := reciprocal(i, count))
        for c in mutual:
            h = reciprocal(c, half)
            if len(h & mutual) > 2 / 3 * len(h):
                members |= h
        members = sorted(members)
        e = np.exp(-(2 - 2 * similarity[i, members]))
        weights[i, members] = e / e.sum()
    if k2 > 1:
        weights = np.stack([sum(weights[lists[m][i][:k2]].mean(0) for m in (0, 1)) / 2 for i in range(count)])
    s = np.minimum(weights[:, None], weights[None]).sum(2)
    return np.maximum(1 - s / (2 - s), 0)


def two_modalities(visible, infrared, dims, seed=0, copies=False):
    """Rows of any norm around common centres, each modality with an offset; `copies`: with many identical
    rows.
    """
    generator = np.random.default_rng(seed)
    centres = generator.standard_normal((max(2, (visible + infrared) // 12), dims))
    offsets = 0.8 * generator.standard_normal((2, dims))
    sides = []
    for count, offset in zip((visible, infrared), offsets):
        rows = centres[generator.integers(0, len(centres), count)] + offset
        rows += (0 if copies else 0.4) * generator.standard_normal(rows.shape)
        sides.append(
            (
                rows
                / np.linalg.norm(rows, axis=1, keepdims=True)
                * generator.uniform(0.7, 1, (count, 1)) ** (not copies)
            ).astype(np.float32)
        )
    return sides


@parity.recorded("bmil_jaccard", keys=r"dist_k1_(\d+)_k2_(\d+)")
@pytest.mark.parametrize("backend", BACKENDS)
def test_released_distances_and_labels(arrays, key, backend):
    if backend.startswith("faiss"):
        pytest.importorskip("faiss", reason="faiss is an extra; the torch search is the default")
    k1, k2 = map(int, key)
    features, border = torch.from_numpy(arrays["features"]), int(arrays["n_visible"])
    sides = features[:border], features[border:]
    distance = modality_aware_distance(*sides, k1, k2, backend=backend)
    np.testing.assert_allclose(dense(distance), arrays[f"dist_k1_{k1}_k2_{k2}"], atol=1e-5)
    for eps, tag in ((0.6, "06"), (0.3, "03")):
        expected = arrays[f"labels_k1_{k1}_k2_{k2}_eps{tag}"]
        np.testing.assert_array_equal(dbscan(distance, eps).ids, expected)
        direct = joint_pseudo_labels(*sides, k1=k1, k2=k2, eps=eps, backend=backend)
        np.testing.assert_array_equal(direct.ids, expected)
        assert direct.num_clusters == expected.max() + 1 and direct.eps == eps


@pytest.mark.parametrize("k1,k2", [(30, 6), (7, 2), (2, 1), (9, 30)])
@pytest.mark.parametrize("visible,infrared", [(70, 50), (40, 3), (2, 60), (1, 1), (5, 4)])
def test_brute_force(visible, infrared, k1, k2):
    """Also where a modality has fewer images than a list, or than the query expansion, takes."""
    sides = two_modalities(visible, infrared, 6, seed=visible + k1)
    distance = modality_aware_distance(*map(torch.from_numpy, sides), k1, k2)
    expected = brute_force(*sides, k1, k2)
    np.testing.assert_allclose(dense(distance), expected, atol=1e-5)
    labels = DBSCAN(eps=0.6, min_samples=4, metric="precomputed").fit(dense(distance)).labels_
    np.testing.assert_array_equal(
        joint_pseudo_labels(*map(torch.from_numpy, sides), k1=k1, k2=k2, eps=0.6).ids, labels
    )


@pytest.mark.parametrize("copies", [False, True])
def test_lists_hold_the_most_similar_of_each_modality(copies):
    """Whole numbers have exact products: equally similar images stand in the order of their rows."""
    generator = np.random.default_rng(4)
    features = generator.integers(-2, 3, (90, 5)).astype(np.float32)
    if copies:
        features = features[generator.integers(0, 7, 90)]
    product = features @ features.T
    for chunk in (7, 64, 1000):
        lists = nearest_of_each_modality(torch.from_numpy(features), 55, 11, chunk=chunk)
        for (similarity, images), (first, last) in zip(lists, ((0, 55), (55, 90))):
            expected = np.argsort(-product[:, first:last], axis=1, kind="stable")[:, :11] + first
            np.testing.assert_array_equal(images, expected)
            np.testing.assert_array_equal(similarity, np.take_along_axis(product, expected, 1))


@pytest.mark.parametrize("form", ["cpu", "gpu"])
@pytest.mark.parametrize("parts", [1, 2, 3, 5])
@pytest.mark.parametrize("chunk", [16, 40, 400])
def test_strips_of_several_processes_make_the_lists_of_one(monkeypatch, form, parts, chunk):
    """Also when a process has no strip at all. The GPU's torch code runs on the CPU here."""
    features = torch.from_numpy(np.concatenate(two_modalities(230, 103, 6)))
    expected = nearest_of_each_modality(features, 230, 9, chunk=chunk)
    if form == "gpu":
        monkeypatch.setattr(module, "modality_aware_cpu", module.modality_aware_gpu)
    spread = [partial_lists(features, 230, 9, chunk, part, parts) for part in range(parts)]
    for found, whole in zip(nearest_of_each_modality(features, 230, 9, share=lambda *_: spread), expected):
        assert torch.equal(found[0], whole[0]) and torch.equal(found[1], whole[1])


def test_identical_images_share_their_clusters():
    """Copies have equal similarities everywhere; distances stay finite and copies of one row stay
    together.
    """
    sides = [torch.from_numpy(s) for s in two_modalities(48, 48, 6, seed=1, copies=True)]
    distance = modality_aware_distance(*sides, 30, 6)
    assert (
        np.isfinite(distance.data).all()
        and (distance.data >= 0).all()
        and abs(distance - distance.T).max() == 0
    )


def test_a_common_clustering_needs_both_modalities():
    rows = torch.randn(9, 4)
    for sides in ((rows, rows[:0]), (rows[:0], rows)):
        with pytest.raises(ValueError, match="non-empty"):
            modality_aware_distance(*sides)
    with pytest.raises(ValueError, match="k1"):
        modality_aware_distance(rows, rows, 1, 1)
    with pytest.raises(ValueError, match="eps"):
        joint_pseudo_labels(rows, rows, eps=1.0)
    with pytest.raises(ValueError, match="NaN"):
        modality_aware_distance(rows, rows * float("nan"))
    with pytest.raises(ValueError, match="--knn"):
        modality_aware_distance(rows, rows, backend="annoy")
