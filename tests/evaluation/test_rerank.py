"""Re-ranking against a dense, loop-by-loop version of the paper,
and its mention in the name of a protocol.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from sdcl.datasets import DATASETS, Dataset, Sample
from sdcl.evaluation.protocols import evaluate
from sdcl.evaluation.rerank import Rerank, rerank


def people(rows, seed=0, noise=0.8):
    """Unit rows (rows, 24) around a person every five."""
    draw = torch.Generator().manual_seed(seed)
    centres = torch.randn(rows // 5 + 1, 24, generator=draw)
    return F.normalize(
        centres[torch.arange(rows) % len(centres)] + noise * torch.randn(rows, 24, generator=draw)
    )


def dense(query, gallery, k1, k2, own):
    """Zhong et al., section 3, on whole matrices."""
    x = np.concatenate([query, gallery]).astype(np.float64)
    squared = ((x[:, None] - x[None]) ** 2).sum(2)
    scaled = squared / squared.max(1, keepdims=True)
    rank = np.argsort(squared, axis=1, kind="stable")

    def reciprocal(i, k):
        return {int(j) for j in rank[i, : k + 1] if i in rank[j, : k + 1]}

    weights = np.zeros_like(squared)
    for i in range(len(x)):
        first = reciprocal(i, k1)
        enlarged = set(first)
        for j in first:
            half = reciprocal(j, round(k1 / 2))
            if len(half & first) > 2 / 3 * len(half):
                enlarged |= half
        at = sorted(enlarged)
        weights[i, at] = np.exp(-scaled[i, at]) / np.exp(-scaled[i, at]).sum()
    weights = np.stack([weights[rank[i, :k2]].mean(0) for i in range(len(x))])
    least = np.minimum(weights[: len(query), None], weights[None, len(query) :]).sum(2)
    return (1 - own) * (1 - least / (2 - least)) + own * scaled[: len(query), len(query) :]


@pytest.mark.parametrize(
    "settings", [Rerank(), Rerank(5, 1, 0.3), Rerank(7, 3, 0.0), Rerank(6, 2, 1.0), Rerank(200, 6, 0.3)]
)
def test_equals_the_dense_version(settings):
    query, gallery = people(23, 1), people(61, 1)
    found = rerank(query, gallery, settings)
    np.testing.assert_allclose(
        found.numpy(), dense(query.numpy(), gallery.numpy(), *settings), rtol=0, atol=2e-6
    )


def test_it_helps_where_images_support_one_another():
    """Ten images a person: re-ranking must raise the share of right first places."""
    every = people(300, 3, noise=1.6)
    person = torch.arange(300) % 61
    query, gallery = every[:61], every[61:]
    plain = person[61:][(query @ gallery.T).argmax(1)] == person[:61]
    better = person[61:][rerank(query, gallery).argmin(1)] == person[:61]
    assert better.float().mean() >= plain.float().mean()


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match=r"got \(0, 4"):
        rerank(torch.zeros(0, 4), torch.ones(2, 4))
    with pytest.raises(ValueError, match="k1 and k2"):
        rerank(people(4), people(4), Rerank(0))
    with pytest.raises(ValueError, match="NaN"):
        rerank(people(4) * torch.nan, people(4))


def test_alike_images_have_a_distance():
    same = people(1).expand(6, -1)
    assert torch.isfinite(rerank(same, same, Rerank(3, 2))).all()


def test_the_protocol_is_named():
    samples = {
        m: [Sample(f"{m}{i}", i % 5, 1 + (m == "infrared"), m) for i in range(20)]
        for m in ("visible", "infrared")
    }
    features = {m: people(20, i) for i, m in enumerate(samples)}
    protocols = Dataset(source=DATASETS["regdb"], data_dir=Path(), train={}, test=samples).protocols()
    plain = evaluate(features, samples, protocols)
    named = evaluate(features, samples, protocols, Rerank())
    assert [r.protocol for r in plain] == ["RegDB"] * 2
    assert [r.protocol for r in named] == ["RegDB, k-reciprocal re-ranking (k1 20, k2 6, lambda 0.3)"] * 2
    assert any(a.metrics.mAP != b.metrics.mAP for a, b in zip(plain, named, strict=True))
