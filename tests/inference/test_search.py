"""Search: thresholds keep their false-accept rate, and labelled images name people by their folders."""

import numpy as np
import pytest

from sdcl.evaluation.rerank import Rerank
from sdcl.inference.embeddings import Embeddings
from sdcl.inference.search import calibrate_threshold, nearest, search, threshold_costs
from sdcl.runtime.errors import DataError, SettingError

generator = np.random.default_rng(0)


def unit_rows(count, dim=6):
    rows = generator.normal(size=(count, dim))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return Embeddings(rows, [f"{i}.png" for i in range(count)], {"root": "x"})


def test_calibration_keeps_its_rate():
    """Impostors from the reference's own distribution pass no more often than was asked, over many draws."""
    accepted = []
    for _ in range(200):
        gallery, reference, impostors = unit_rows(30), unit_rows(49), unit_rows(20)
        threshold = calibrate_threshold(reference, gallery, 0.1).threshold
        accepted += [a["in_gallery"] for a in search(impostors, gallery, top=1, threshold=threshold)]
    assert 0.08 < np.mean(accepted) < 0.12
    with pytest.raises(DataError, match="needs at least 99 reference images, got 49"):
        calibrate_threshold(reference, gallery, 0.01)
    with pytest.raises(SettingError):
        calibrate_threshold(reference, gallery, 1.0)


def test_labels_need_folders():
    with pytest.raises(DataError, match="no folder"):
        calibrate_threshold(unit_rows(20), unit_rows(20), 0.1, labelled=True)


def test_without_a_threshold_nothing_is_decided():
    answers = search(unit_rows(3), unit_rows(4), top=2)
    assert all(a["in_gallery"] is None and len(a["results"]) == 2 for a in answers)


def test_several_galleries_are_searched_as_one():
    whole, query = unit_rows(40), unit_rows(5)
    parts = [Embeddings(whole.rows[a:b], whole.paths[a:b], whole.about) for a, b in ((0, 25), (25, 40))]
    for more in ({}, {"method": Rerank(5, 2)}, {"method": Rerank(5, 2), "rerank_top": 12}):
        together, apart = (search(query, g, threshold=0.5, **more) for g in (whole, parts))
        for one, other in zip(together, apart):
            assert one["best_similarity"] == other["best_similarity"]
            names = [parts[r["gallery"]].paths[r["row"]] for r in other["results"]]
            assert names == [r["path"] for r in other["results"]] == [r["path"] for r in one["results"]]


def test_nearest_equals_float64_also_where_float32_rounds():
    rows = np.repeat(unit_rows(20, 512).rows, 3, axis=0)
    rows[1::3, 0] += 1e-7  # differences that a float32 product may lose
    query = unit_rows(4, 512).rows
    indexes, similarity = nearest(query, rows, 7)
    exact = query.astype(np.float64) @ rows.astype(np.float64).T
    np.testing.assert_allclose(similarity, -np.sort(-exact, axis=1)[:, :7], atol=1e-12)
    np.testing.assert_allclose(np.take_along_axis(exact, indexes, 1), similarity, atol=1e-12)


def test_reranking_the_first_images_of_a_query_is_reranking_them_alone():
    query, gallery = unit_rows(1), unit_rows(50)
    first, _ = nearest(query.rows, gallery.rows, 20)
    alone = Embeddings(gallery.rows[np.sort(first[0])], [gallery.paths[i] for i in np.sort(first[0])], {})
    wanted = search(query, alone, method=Rerank(4, 2), top=20)[0]["results"]
    result = search(query, gallery, method=Rerank(4, 2), top=20, rerank_top=20)[0]["results"]
    assert sorted(r["path"] for r in result) == sorted(r["path"] for r in wanted)
    scores = {r["path"]: r["score"] for r in wanted}
    assert all(abs(scores[r["path"]] - r["score"]) < 1e-6 for r in result)
    assert [r["score"] for r in result] == sorted((r["score"] for r in result), reverse=True)


def test_costs_of_a_threshold_agree_with_its_calibration():
    reference, gallery = unit_rows(99), unit_rows(30)
    costs = threshold_costs(reference, [gallery])
    for rate in (0.01, 0.1, 0.5):
        threshold = calibrate_threshold(reference, gallery, rate).threshold
        assert threshold == costs.threshold(rate) and costs.false_accepts(threshold) <= rate + 1e-9
    assert costs.true_accepts(0.0) is None
    people = [
        Embeddings(e.rows, [f"{i % 9}/{p}" for i, p in enumerate(e.paths)], {}) for e in (reference, gallery)
    ]
    labelled = threshold_costs(people[0], people[1:], labelled=True)
    assert labelled.true_accepts(-1.0) == 1.0 and labelled.true_accepts(1.0) == 0.0
    assert (labelled.impostor <= 1).all() and len(labelled.genuine) == 99


def test_embeddings_of_two_models_are_not_compared():
    """Nor are their thresholds calibrated."""
    ours, theirs = unit_rows(5), unit_rows(20)
    ours.about["weights"], theirs.about["weights"] = "bc34", "59be"
    for compare in (
        lambda: search(ours, theirs),
        lambda: search(ours, [ours, theirs]),
        lambda: calibrate_threshold(ours, theirs, 0.5),
        lambda: threshold_costs(ours, [theirs]),
    ):
        with pytest.raises(DataError, match="cannot be compared: weights bc34 and 59be"):
            compare()


def test_a_search_of_nothing():
    for wrong in ({"gallery": []}, {"gallery": unit_rows(3), "top": 0}):
        with pytest.raises(ValueError, match="a gallery and a top of 1 or more"):
            search(unit_rows(2), **wrong)
    with pytest.raises(ValueError, match="rerank_top must be at least top, got 5 and 10"):
        search(unit_rows(2), unit_rows(20), method=Rerank(4, 2), top=10, rerank_top=5)
