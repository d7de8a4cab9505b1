"""Protocols of each data set: queries, galleries, removal rules, draws and means."""

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from sdcl.datasets import DATASETS, Dataset, ProtocolOptions, Sample, source_of, sysu
from sdcl.datasets.base import same_room
from sdcl.evaluation import metrics as M
from sdcl.evaluation import protocols as P


def in_memory(name, samples, data_dir="."):
    """A data set of these test samples."""
    return Dataset(source=DATASETS[name], data_dir=Path(data_dir), train={}, test=samples)


def results_of(name, features, samples, *, rerank=None, **options):
    return P.evaluate(
        features, samples, in_memory(name, samples).protocols(ProtocolOptions(**options)), rerank
    )


def unit(rows):
    return rows / rows.norm(dim=1, keepdim=True)


def people(visible_cameras=(1, 2, 4, 5), infrared_cameras=(3, 6), count=12, each=3, noise=2.0, seed=0):
    """Features around one direction per person, and their samples."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(count, 16, generator=generator)
    features, samples = {}, {}
    for modality, cameras in (("visible", visible_cameras), ("infrared", infrared_cameras)):
        samples[modality] = [
            Sample(f"{modality}/{identity}/{camera}/{k}.jpg", identity, camera, modality)
            for identity in range(count)
            for camera in cameras
            for k in range(each)
        ]
        owners = [sample.identity for sample in samples[modality]]
        features[modality] = unit(centres[owners] + noise * torch.randn(len(owners), 16, generator=generator))
    return features, samples


def columns(samples, rows=None):
    rows = range(len(samples)) if rows is None else rows
    return [samples[row].identity for row in rows], [samples[row].camera for row in rows]


def test_sysu_is_the_mean_of_its_draws():
    features, samples = people()
    results = results_of("sysu", features, samples, shots=(1, 2), draws=3)
    assert [(r.protocol, r.gallery_size) for r in results] == [
        ("SYSU-MM01 all-search single-shot, 3 seeded draws", 48),
        ("SYSU-MM01 all-search 2-shot, 3 seeded draws", 96),
        ("SYSU-MM01 indoor-search single-shot, 3 seeded draws", 24),
        ("SYSU-MM01 indoor-search 2-shot, 3 seeded draws", 48),
    ]
    query_ids, query_cameras = columns(samples["infrared"])
    expected = []
    for trial in range(3):
        rows = sysu.draw_gallery(samples["visible"], trial, mode="indoor")
        ids, cameras = columns(samples["visible"], rows)
        similarity = features["infrared"].double() @ features["visible"][rows].double().T
        expected.append(
            M.rank_metrics(
                similarity,
                query_ids,
                ids,
                query_cameras,
                cameras,
                removed=same_room,
                distinct_identities=True,
            )
        )
    indoor = results[2]
    assert indoor.direction == "infrared to visible" and len(indoor.per_draw) == 3
    for ours, theirs in zip([*indoor.per_draw, indoor.metrics], [*expected, M.mean(expected)], strict=True):
        np.testing.assert_allclose(ours.cmc, theirs.cmc, atol=1e-12)
        assert (ours.mAP, ours.mINP) == pytest.approx((theirs.mAP, theirs.mINP), abs=1e-12)
    assert len({metrics.mAP for metrics in indoor.per_draw}) == 3  # the draws differ


def test_sysu_camera_3_does_not_see_camera_2():
    """Visible images of camera 2 only: camera-3 queries have no match left, camera-6 queries do."""
    features, samples = people(visible_cameras=(2,), noise=0.01)
    (result,) = results_of("sysu", features, samples, modes=("indoor",), draws=1)
    assert (result.metrics.num_valid, result.metrics.num_queries) == (36, 72)
    assert result.metrics.r1 == 1 and result.protocol.endswith("1 seeded draw")


def test_sysu_official_permutations_are_named_and_passed_on(monkeypatch):
    samples = people()[1]
    last = {(c, i): np.array([[3], [3]]) for c in (1, 2, 4, 5) for i in range(12)}
    samples = {
        m: [replace(s, path=s.path.replace("/0.jpg", "/3.jpg")) for s in rows] for m, rows in samples.items()
    }
    monkeypatch.setattr(sysu, "load_permutations", lambda data_dir: last)
    official = in_memory("sysu", samples).protocols(ProtocolOptions(("all",), draws=2, official_draws=True))[
        0
    ]
    assert official.name == "SYSU-MM01 all-search single-shot, 2 official rand_perm_cam draws"
    assert all(
        {samples["visible"][row].path[-5:] for row in draw.gallery} == {"3.jpg"} for draw in official.draws
    )
    monkeypatch.setattr(sysu, "load_permutations", lambda data_dir: None)
    with pytest.raises(ValueError, match="--official-draws needs"):
        in_memory("sysu", samples).protocols(ProtocolOptions(official_draws=True))


def test_the_extra_view_of_sysu_is_not_evaluated():
    samples = people()[1]
    *rows, extra = in_memory("sysu", samples).protocols(ProtocolOptions(draws=1))
    assert (
        extra.extra
        and not any(p.extra for p in rows)
        and (extra.query, extra.gallery) == ("visible", "infrared")
    )
    cameras = (np.array([[2], [2], [1], [4]]), np.array([[3, 6, 3, 6]]))
    assert extra.removed(np.zeros((4, 1)), cameras[0], np.zeros((1, 4)), cameras[1]).tolist() == [
        [True, False, True, False], [True, False, True, False], [False] * 4, [False] * 4,
    ]  # fmt: skip


def test_arrays_and_tensors_give_the_same():
    features, samples = people()
    arrays = {modality: rows.numpy() for modality, rows in features.items()}
    first, second = (
        results_of("sysu", features, samples, draws=1),
        results_of("sysu", arrays, samples, draws=1),
    )
    assert [r.metrics.mAP for r in first] == [r.metrics.mAP for r in second]


def test_regdb_both_directions():
    features, samples = people(visible_cameras=(1,), infrared_cameras=(2,), each=10)
    results = results_of("regdb", features, samples)
    assert [(r.protocol, r.direction, r.gallery_size) for r in results] == [
        ("RegDB", "visible to thermal", 120),
        ("RegDB", "thermal to visible", 120),
    ]
    ids = columns(samples["visible"])[0]
    similarity = features["visible"].double() @ features["infrared"].double().T
    for result, matrix in zip(results, (similarity, similarity.T), strict=True):
        expected = M.rank_metrics(matrix, ids, ids, distinct_identities=False)
        assert result.metrics.num_valid == 120
        np.testing.assert_allclose(result.metrics.cmc, expected.cmc, atol=1e-12)
        assert result.metrics.mAP == pytest.approx(expected.mAP, abs=1e-12)
    assert results[0].metrics.mAP != results[1].metrics.mAP


def test_mean_results_keeps_the_trials():
    trials = [results_of("regdb", *people((1,), (2,), seed=seed)) for seed in range(3)]
    forward, backward = P.mean_results(trials)
    assert forward.protocol == "RegDB, mean of 3 trials" and backward.direction == "thermal to visible"
    assert [m.mAP for m in forward.per_draw] == [trial[0].metrics.mAP for trial in trials]
    assert forward.metrics.mAP == pytest.approx(np.mean([trial[0].metrics.mAP for trial in trials]))
    assert backward.metrics.r1 == pytest.approx(np.mean([trial[1].metrics.r1 for trial in trials]))
    with pytest.raises(ValueError, match="no trials"):
        P.mean_results([])
    with pytest.raises(ValueError, match="different"):
        P.mean_results([trials[0], trials[1][::-1]])


def test_llcm_both_conventions():
    """Against an evaluator written query by query: three rows, drawn galleries in both directions, drawn
    queries as released.
    """
    features, samples = people(visible_cameras=(1, 2, 3, 4), infrared_cameras=(1, 2, 4), count=8)
    results = results_of("llcm", features, samples, draws=2)
    assert [(r.protocol, r.direction, r.gallery_size, r.metrics.num_queries) for r in results] == [
        ("LLCM drawn gallery, 2 seeded draws", "visible to infrared", 24, 96),
        ("LLCM drawn gallery, 2 seeded draws", "infrared to visible", 32, 72),
        (
            "LLCM drawn queries (visible to infrared of the released code), 2 seeded draws",
            "infrared to visible",
            96,
            24,
        ),
    ]
    everyone = {modality: list(range(len(rows))) for modality, rows in samples.items()}
    for trial in range(2):
        drawn = {modality: draw_as_released(rows, trial) for modality, rows in samples.items()}
        pairs = [
            (("visible", everyone), ("infrared", drawn)),
            (("infrared", everyone), ("visible", drawn)),
            (("infrared", drawn), ("visible", everyone)),
        ]
        for result, sides in zip(results, pairs, strict=True):
            found = result.per_draw[trial]
            expected = one_by_one(
                *((features[m][rows[m]], columns(samples[m], rows[m])) for m, rows in sides)
            )
            assert (found.r1, found.r5, found.mAP, found.mINP) == pytest.approx(expected, abs=1e-9)
    assert results[0].metrics.mAP == pytest.approx(np.mean([m.mAP for m in results[0].per_draw]))
    assert results[0].per_draw[0].mAP != results[0].per_draw[1].mAP


def draw_as_released(samples, trial):
    """A global generator seeded with the trial; identities and cameras ascending; a choice from each
    folder.
    """
    random.seed(trial)
    folders = sorted({(s.identity, s.camera) for s in samples})
    return [
        random.choice([row for row, s in enumerate(samples) if (s.identity, s.camera) == folder])
        for folder in folders
    ]


def one_by_one(query, gallery):
    """R1, R5, mAP, mINP: own identity in the own camera removed, CMC over distinct identities, queries
    without a match left out.
    """
    scores = []
    for feature, identity, camera in zip(query[0], *query[1], strict=True):
        order = (gallery[0].double() @ feature.double()).argsort(descending=True).tolist()
        seen = [gallery[1][0][g] for g in order if (gallery[1][0][g], gallery[1][1][g]) != (identity, camera)]
        hits = [rank for rank, other in enumerate(seen, start=1) if other == identity]
        if hits:
            place = list(dict.fromkeys(seen)).index(identity)
            precision = np.mean([k / rank for k, rank in enumerate(hits, start=1)])
            scores.append((place < 1, place < 5, precision, len(hits) / hits[-1]))
    return tuple(np.mean(scores, axis=0))


def test_llcm_removes_the_own_identity_in_the_own_camera():
    """Infrared in camera 1 only: the visible images of camera 2 are the queries that have a match left."""
    features, samples = people(visible_cameras=(1, 2), infrared_cameras=(1,), count=6, noise=0.01)
    result = results_of("llcm", features, samples, draws=1)[0]
    assert (result.metrics.num_valid, result.metrics.num_queries, result.metrics.r1) == (18, 36, 1)
    with pytest.raises(ValueError, match="none of the"):
        results_of("llcm", *people(visible_cameras=(1,), infrared_cameras=(1,)), draws=1)
    with pytest.raises(ValueError, match="at least one"):
        results_of("llcm", features, samples, draws=0)


def test_custom_images_and_names():
    features, samples = people()
    results = results_of("custom", features, samples)
    assert [(r.protocol, r.direction) for r in results] == [
        ("own data, all images against all of the other modality", "visible to infrared"),
        ("own data, all images against all of the other modality", "infrared to visible"),
    ]
    assert DATASETS["custom"] is source_of("own")
    with pytest.raises(ValueError, match="no data set"):
        source_of("market")


def test_errors_are_said():
    features, samples = people()
    with pytest.raises(ValueError, match="at least one"):
        results_of("sysu", features, samples, draws=0)
    with pytest.raises(ValueError, match="unit rows"):
        results_of("regdb", {**features, "infrared": 2 * features["infrared"]}, samples)
    with pytest.raises(ValueError, match="unit rows"):
        results_of("regdb", {**features, "infrared": float("nan") * features["infrared"]}, samples)
    with pytest.raises(ValueError, match="visible samples"):
        results_of("regdb", {**features, "visible": features["visible"][1:]}, samples)


@pytest.mark.parametrize("name", ["vcm", "buptcampus"])
def test_tracks_are_ranked_by_the_mean_of_their_frames(name):
    """Against the definition, track by track: pooling, queries and gallery, removal, CMC, AP and INP."""
    generator = np.random.default_rng(3)
    centres = generator.normal(size=(6, 8))
    features, samples = {}, {}
    for m in ("visible", "infrared"):
        frames = [
            Sample(f"{m}/{t}/{n}", t % 6, 1 + t // 12, m, 100 - t, query=t % 4 == 0)
            for t in range(24)
            for n in range(1 + t % 3)
        ]
        samples[m] = [frames[i] for i in generator.permutation(len(frames))]
        rows = centres[[s.identity for s in samples[m]]] + 0.9 * generator.normal(size=(len(frames), 8))
        features[m] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    results = {(r.protocol, r.direction): r for r in results_of(name, features, samples)}
    assert len(results) == 4
    title = DATASETS[name].title
    for query, gallery in (("visible", "infrared"), ("infrared", "visible")):
        pooled = {m: {} for m in samples}  # modality -> track -> (mean feature, identity, camera, query)
        for m in samples:
            for track in {s.track for s in samples[m]}:
                of_track = [i for i, s in enumerate(samples[m]) if s.track == track]
                mean, first = features[m][of_track].mean(0), samples[m][of_track[0]]
                pooled[m][track] = (mean / np.linalg.norm(mean), first.identity, first.camera, first.query)
        r1, precisions, penalties = [], [], []
        for feature, identity, camera, is_query in pooled[query].values():
            if name == "buptcampus" and not is_query:
                continue
            ranked = sorted(
                (
                    (-feature @ other, i == identity)
                    for other, i, c, q in pooled[gallery].values()
                    if not (name == "vcm" and (i, c) == (identity, camera))
                    and not (name == "buptcampus" and q)
                ),
            )
            hits = [rank for rank, (_, match) in enumerate(ranked, 1) if match]
            if hits:
                r1.append(hits[0] == 1)
                precisions.append(np.mean([k / rank for k, rank in enumerate(hits, 1)]))
                penalties.append(len(hits) / hits[-1])
        result = results[f"{title} tracks", f"{query} to {gallery}"]
        assert result.metrics.num_valid == len(r1)
        assert result.gallery_size == (24 if name == "vcm" else 18)
        expected = np.mean(r1), np.mean(precisions), np.mean(penalties)
        assert (result.metrics.r1, result.metrics.mAP, result.metrics.mINP) == pytest.approx(expected)
        images = results[f"{title} single frames", f"{query} to {gallery}"]
        assert images.gallery_size == sum(name == "vcm" or not s.query for s in samples[gallery])
