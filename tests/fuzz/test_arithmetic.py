"""Sampler on every kind of cluster, and metrics against loops."""

import numpy as np
from helpers import cases
from hypothesis import given
from hypothesis import strategies as st

from sdcl.data.sampler import epoch_batches
from sdcl.evaluation.metrics import rank_metrics


@cases.few
@given(
    st.lists(st.tuples(st.integers(-1, 9), st.integers(1, 3)), max_size=40),
    st.integers(1, 8),
    st.integers(1, 40),
    st.integers(0, 9),
)
def test_sampler(images, instances, batch, seed):
    labels, cameras = np.array([i[0] for i in images], int), np.array([i[1] for i in images], int)
    try:
        rows = epoch_batches(
            labels, cameras, batch_size=batch, num_instances=instances, iterations=3, seed=(seed,)
        )
    except ValueError:
        assert not (labels >= 0).any()
        return
    assert rows.shape == (3, batch) and (labels[rows] >= 0).all()


@cases.few
@given(
    st.integers(1, 6),
    st.integers(1, 8),
    st.integers(1, 4),
    st.integers(1, 4),
    st.booleans(),
    st.integers(0, 10**6),
)
def test_metrics(queries, gallery, people, levels, distinct, seed):
    rng = np.random.default_rng(seed)
    similarity = rng.integers(0, levels, (queries, gallery)).astype(np.float32)
    asked, there = rng.integers(0, people, queries), rng.integers(0, people, gallery)
    precisions, first = [], []
    for row, identity in zip(similarity, asked):
        ids = [there[g] for g in sorted(range(gallery), key=lambda g: (-row[g], g))]
        ranks = [r for r, other in enumerate(ids, 1) if other == identity]
        if ranks:
            precisions.append(np.mean([k / r for k, r in enumerate(ranks, 1)]))
            first.append((list(dict.fromkeys(ids)) if distinct else ids).index(identity))
    try:
        ours = rank_metrics(similarity, asked, there, distinct_identities=distinct)
    except ValueError:
        assert not precisions
        return
    assert abs(ours.mAP - np.mean(precisions)) < 1e-9 and abs(ours.r1 - np.mean(np.array(first) == 0)) < 1e-9
