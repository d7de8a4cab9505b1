"""Metrics against the recorded numbers and against loops that follow the protocol's words."""

import numpy as np
import pytest
import torch
from helpers import parity
from sklearn.metrics import average_precision_score

from sdcl.datasets.base import same_identity_and_camera, same_room
from sdcl.evaluation import metrics as M
from sdcl.evaluation import ranking_gpu


def other_identity_and_camera(query_ids, query_cameras, gallery_ids, gallery_cameras):
    """The rule that the released single-modality evaluator applies under its RegDB switch."""
    return (query_ids != gallery_ids) & (query_cameras != gallery_cameras)


RULES = (None, same_room, same_identity_and_camera, other_identity_and_camera)
WORDS = {  # the rules again, for one pair, as plain Python
    None: lambda query, gallery: False,
    same_room: lambda query, gallery: query[1] == 3 and gallery[1] == 2,
    same_identity_and_camera: lambda query, gallery: query == gallery,
    other_identity_and_camera: lambda query, gallery: query[0] != gallery[0] and query[1] != gallery[1],
}


def brute_force(
    similarity, query_ids, gallery_ids, query_cameras, gallery_cameras, removed, distinct_identities, max_rank
):
    """Loops over queries and ranks; returns (cmc, mAP, mINP, valid)."""
    curves, precisions, penalties = [], [], []
    for row, identity, camera in zip(similarity, query_ids, query_cameras, strict=True):
        ranked = sorted(range(len(row)), key=lambda g: (-row[g], g))
        ranked = [
            g for g in ranked if not WORDS[removed]((identity, camera), (gallery_ids[g], gallery_cameras[g]))
        ]
        ids = [gallery_ids[g] for g in ranked]
        ranks = [rank for rank, other in enumerate(ids, start=1) if other == identity]
        if not ranks:
            continue
        precisions.append(sum(k / rank for k, rank in enumerate(ranks, start=1)) / len(ranks))
        penalties.append(len(ranks) / ranks[-1])
        listed = list(dict.fromkeys(ids)) if distinct_identities else ids
        found = listed.index(identity)
        curves.append([1.0 if rank >= found else 0.0 for rank in range(max_rank)])
    return np.mean(curves, axis=0), np.mean(precisions), np.mean(penalties), len(precisions)


def random_case(seed, queries, gallery, people, levels):
    """Integer-valued similarities, so that many are tied; some queries have no match."""
    rng = np.random.default_rng(seed)
    similarity = rng.integers(0, levels, (queries, gallery)).astype(np.float32) / levels
    return (
        similarity,
        rng.integers(0, people, queries),
        rng.integers(0, people, gallery),
        rng.choice([3, 6], queries),
        rng.choice([1, 2, 3, 4], gallery),
    )


@pytest.fixture(params=["cpu", "gpu"])
def form(request, monkeypatch):
    """Both forms of the ranking; that of the GPU runs on the CPU here."""
    if request.param == "gpu":
        monkeypatch.setattr(M, "ranking_cpu", ranking_gpu)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("distinct", [True, False])
@pytest.mark.parametrize(
    ("queries", "gallery", "people", "levels"),
    [(60, 80, 25, 1000), (40, 30, 12, 4), (30, 9, 9, 1), (50, 1, 2, 3)],
)
def test_brute_force(form, rule, distinct, queries, gallery, people, levels):
    case = random_case(queries, queries, gallery, people, levels)
    cmc, mAP, mINP, valid = brute_force(*case, rule, distinct, 20)
    ours = M.rank_metrics(*case, removed=rule, distinct_identities=distinct)
    assert (ours.num_valid, ours.num_queries) == (valid, queries)
    assert ours.cmc.dtype == np.float64
    np.testing.assert_allclose(ours.cmc, cmc, atol=1e-12)
    assert abs(ours.mAP - mAP) <= 1e-12 and abs(ours.mINP - mINP) <= 1e-12


def test_a_chunk_of_queries_without_a_match(form, monkeypatch):
    monkeypatch.setattr(M, "CHUNK_ELEMENTS", 1)  # a query a chunk
    ours = M.rank_metrics(np.array([[0.1, 0.9], [0.8, 0.3]]), [7, 1], [1, 2], distinct_identities=False)
    assert (ours.num_valid, ours.num_queries, ours.mAP) == (1, 2, 1.0)


def small_precision(arrays, queries, gallery):
    """Whether the first queries and gallery images have the mean average precision of "regdb_small"."""
    ids, known = arrays["regdb_q_pids"][:queries], arrays["regdb_g_pids"][:gallery]
    match = ids[:, None] == known[None]
    precision = M.average_precision(-arrays["regdb_dist"][:queries, :gallery], match, np.ones_like(match))
    return match.any() and abs(np.nanmean(precision) - arrays["regdb_small_mAP"]) <= 1e-9


def recorded_case(arrays, name):
    """(arguments, settings) of a recorded evaluation."""
    if name.startswith("single"):
        case = [
            -arrays["single_dist"],
            *(arrays[f"single_{k}"] for k in ("q_ids", "g_ids", "q_cams", "g_cams")),
        ]
        rule = same_identity_and_camera if name == "single" else other_identity_and_camera
        return case, {"removed": rule, "distinct_identities": False, "max_rank": len(arrays[f"{name}_cmc"])}
    if name.startswith("regdb"):
        case = [-arrays["regdb_dist"], arrays["regdb_q_pids"], arrays["regdb_g_pids"]]
        if name == "regdb_small":
            size = len(arrays["regdb_small_cmc"])  # a CMC ends with the gallery, here the first images
            queries = next(
                count for count in range(1, len(case[1]) + 1) if small_precision(arrays, count, size)
            )
            case = [case[0][:queries, :size], case[1][:queries], case[2][:size]]
        return case, {"distinct_identities": False}
    queries, gallery = (np.arange(size) for size in arrays["sysu_dist"].shape)
    if name == "sysu_indoor":
        gallery = np.flatnonzero(arrays["sysu_indoor_gallery_mask"])
    if name == "sysu_valid":
        queries = arrays["sysu_valid_query_index"]
    case = [-arrays["sysu_dist"][np.ix_(queries, gallery)]]
    case += [arrays["sysu_q_pids"][queries], arrays["sysu_g_pids"][gallery]]
    case += [arrays["sysu_q_cams"][queries], arrays["sysu_g_cams"][gallery]]
    return case, {"removed": same_room, "distinct_identities": True}


@parity.recorded("evaluation", keys=r"(\w+)_mAP")
def test_recorded_metrics(form, arrays, key):
    (name,) = key
    case, settings = recorded_case(arrays, name)
    ours = M.rank_metrics(*case, **settings)
    cmc = arrays[f"{name}_cmc"]
    np.testing.assert_allclose(ours.cmc[: len(cmc)], cmc, atol=1e-6)
    assert abs(ours.mAP - arrays[f"{name}_mAP"]) <= 1e-9
    if f"{name}_mINP" in arrays:
        assert abs(ours.mINP - arrays[f"{name}_mINP"]) <= 1e-9


@parity.recorded("evaluation")
def test_valid_queries_of_the_recorded_case(arrays):
    case, settings = recorded_case(arrays, "sysu")
    assert M.rank_metrics(*case, **settings).num_valid == len(arrays["sysu_valid_query_index"])


@parity.recorded("evaluation")
def test_chunks_change_nothing(arrays, monkeypatch):
    case, settings = recorded_case(arrays, "sysu")
    whole = M.rank_metrics(*case, **settings)
    monkeypatch.setattr(M, "CHUNK_ELEMENTS", 7 * case[0].shape[1])
    parts = M.rank_metrics(*case, **settings)
    np.testing.assert_array_equal(parts.cmc, whole.cmc)
    assert (parts.mAP, parts.mINP, parts.num_valid) == pytest.approx(
        (whole.mAP, whole.mINP, whole.num_valid), abs=1e-14
    )


def test_products_are_ranked_without_the_whole_matrix(form, monkeypatch):
    """Dot products of small integers are exact,
    so that the numbers are those of the matrix to the last bit.
    """
    rng = np.random.default_rng(3)
    query, gallery = (
        torch.from_numpy(rng.integers(-2, 3, (rows, 6)).astype(np.float64)) for rows in (50, 40)
    )
    case = (*(rng.integers(0, 5, rows) for rows in (50, 40)), rng.choice([3, 6], 50), rng.choice([2, 3], 40))
    settings = {"removed": same_room, "distinct_identities": True}
    whole = M.rank_metrics(query @ gallery.T, *case, **settings)
    monkeypatch.setattr(M, "CHUNK_ELEMENTS", 7 * 40)
    ours = M.rank_metrics(M.Products(query, gallery), *case, **settings)
    np.testing.assert_array_equal(ours.cmc, whole.cmc)
    assert (ours.mAP, ours.mINP, ours.num_valid) == pytest.approx(
        (whole.mAP, whole.mINP, whole.num_valid), abs=1e-14
    )


def test_chunks_of_products_share_one_buffer():
    query, gallery = torch.eye(3)[[0, 1, 2, 1, 0]], torch.eye(3)[[2, 1]]
    read = [
        (part, values.clone(), values.data_ptr())
        for part, values in M._chunks_of(M.Products(query, gallery), 2)
    ]
    assert [part for part, _, _ in read] == [slice(0, 2), slice(2, 4), slice(4, 5)]
    assert torch.cat([values for _, values, _ in read]).equal(query @ gallery.T)
    assert len({address for _, _, address in read}) == 1


def test_similarities_that_are_not_finite_name_their_queries(form, monkeypatch):
    monkeypatch.setattr(M, "CHUNK_ELEMENTS", 4)
    similarity = torch.zeros(6, 2)
    similarity[3, 1] = torch.nan
    with pytest.raises(ValueError, match="queries 2 to 3 are not finite"):
        M.rank_metrics(similarity, [1] * 6, [1, 2], distinct_identities=False)


def test_ties_keep_gallery_order(form):
    similarity = torch.zeros(1, 3)
    assert M.rank_metrics(similarity, [5], [5, 7, 8], distinct_identities=False).r1 == 1
    assert M.rank_metrics(similarity, [8], [5, 7, 8], distinct_identities=False).mAP == pytest.approx(1 / 3)


def test_distinct_identities_jump_over_repeats():
    similarity, gallery = [[0.9, 0.8, 0.7, 0.6]], [1, 1, 1, 2]
    images = M.rank_metrics(np.array(similarity), [2], gallery, distinct_identities=False)
    people = M.rank_metrics(np.array(similarity), [2], gallery, distinct_identities=True)
    assert images.cmc[:4].tolist() == [0, 0, 0, 1] and people.cmc[:2].tolist() == [0, 1]
    assert people.cmc.shape == (20,) and people.r20 == 1  # padded with the last value
    assert images.mAP == people.mAP == 0.25


def test_average_precision_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    similarity, match = rng.standard_normal((12, 30)), rng.random((12, 30)) < 0.2
    keep = rng.random((12, 30)) < 0.8
    match[3] = False
    found = M.average_precision(similarity, match, keep)
    assert found.dtype == np.float64 and np.isnan(found[3])
    for i in np.flatnonzero((match & keep).any(1)):
        assert found[i] == pytest.approx(average_precision_score(match[i][keep[i]], similarity[i][keep[i]]))


def test_mean():
    first = M.Metrics(np.array([0.2, 0.4]), 0.1, 0.3, 5, 6)
    second = M.Metrics(np.array([0.4, 0.8]), 0.3, 0.5, 5, 6)
    both = M.mean([first, second])
    np.testing.assert_allclose(both.cmc, [0.3, 0.6])
    assert (both.mAP, both.mINP, both.num_valid, both.num_queries) == pytest.approx((0.2, 0.4, 5, 6))
    with pytest.raises(ValueError, match="no metrics"):
        M.mean([])


def test_errors_are_said():
    similarity = torch.eye(2)
    with pytest.raises(ValueError, match="none of the 2 queries"):
        M.rank_metrics(similarity, [1, 2], [3, 4], distinct_identities=True)
    with pytest.raises(ValueError, match="none of the 1 queries"):
        M.rank_metrics(torch.ones(1, 1), [1], [1], [3], [2], removed=same_room, distinct_identities=True)
    with pytest.raises(ValueError, match="none of the 2 queries"):
        M.rank_metrics(torch.ones(2, 0), [1, 2], [], distinct_identities=True)
    with pytest.raises(ValueError, match="cameras"):
        M.rank_metrics(similarity, [1, 2], [1, 2], removed=same_room, distinct_identities=True)
    with pytest.raises(ValueError, match="gallery_ids"):
        M.rank_metrics(similarity, [1, 2], [1, 2, 3], distinct_identities=True)
    for value in ("nan", "inf", "-inf"):
        spoilt = similarity.clone()
        spoilt[1, 0] = float(value)
        with pytest.raises(ValueError, match="finite"):
            M.rank_metrics(spoilt, [1, 2], [1, 2], distinct_identities=True)
    with pytest.raises(ValueError, match=r"ranks 1\.\.3"):
        _ = M.rank_metrics(similarity, [1, 2], [1, 2], distinct_identities=True, max_rank=3).r5
