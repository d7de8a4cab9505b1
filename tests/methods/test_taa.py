"""TAA's association by brute force, its schedule, and what it says of itself."""

import itertools
import json

import numpy as np
import pytest
import torch
from helpers.small_runs import rows
from torch.nn import functional as F

from sdcl import train as train_program
from sdcl.analysis.label_quality import LabelQuality
from sdcl.association import associate_with_identities
from sdcl.clustering import LabelSet, PseudoLabels
from sdcl.config import resolve
from sdcl.datasets import Sample
from sdcl.methods.taa import TAA
from sdcl.runtime.errors import SettingError


def by_brute_force(features, ids, identities):
    """Try every one-to-one matching; then the rules, cluster by cluster."""
    unit = [v / np.linalg.norm(v) for v in identities]
    means = [features[ids == c].mean(0) for c in range(ids.max() + 1)]
    s = np.array([[m @ u / np.linalg.norm(m) for u in unit] for m in means])
    few, many = sorted((len(means), len(unit)))
    pairings = [
        [(i, p) if len(means) <= len(unit) else (p, i) for i, p in enumerate(chosen)]
        for chosen in itertools.permutations(range(many), few)
    ]
    best = dict(min(pairings, key=lambda pairs: sum(np.exp(-s[c, k]) for c, k in pairs)))
    found = []
    for c in range(len(means)):
        k = best.get(c, s[c].argmax())
        mutual = s[c].argmax() == k and s[:, k].argmax() == c
        votes = [np.argmax([f @ u for u in unit]) == k for f in features[ids == c]]
        found.append(k if mutual or sum(votes) > len(votes) / 2 else -1)
    return found


@pytest.mark.parametrize("clusters,identities", [(3, 5), (4, 4), (6, 3)])
@pytest.mark.parametrize("seed", range(6))
def test_association_is_that_of_all_matchings(clusters, identities, seed):
    generator = np.random.default_rng(seed)
    centres = generator.normal(size=(identities, 5))
    ids = np.concatenate([np.arange(clusters), generator.integers(-1, clusters, 30)])
    features = centres[ids % identities] + 1.5 * generator.normal(size=(len(ids), 5))
    features, centres = features.astype(np.float32), centres.astype(np.float32)
    found = associate_with_identities(torch.from_numpy(features), ids, torch.from_numpy(centres))
    assert found.tolist() == by_brute_force(features, ids, centres)


def test_an_untrusted_cluster_keeps_no_identity():
    identities = torch.eye(3)
    # cluster 0 is identity 0; cluster 1 lies between it and identity 1, most of its images nearer to 0
    features = F.normalize(
        torch.tensor([[1.0, 0, 0], [1, 0, 0], [0.8, 0.6, 0], [0.8, 0.6, 0], [0.6, 0.7, 0]])
    )
    found = associate_with_identities(features, np.array([0, 0, 1, 1, 1]), identities)
    assert found.tolist() == [0, -1]


def test_the_log_counts_right_associations():
    samples = {
        m: [Sample(f"{m}{i}", identity, 1, m) for i, identity in enumerate([30, 10, 20, 10])]
        for m in ("visible", "infrared")
    }
    # numbered 10 -> 0, 20 -> 1, 30 -> 2: the third image has another's identity, the fourth none
    labels = PseudoLabels(np.array([2, 0, 0, -1]), 3)
    quality = LabelQuality(samples)
    described = quality.describe(LabelSet("a", "infrared", labels, identities_of="visible"))
    assert described["right"] == pytest.approx(2 / 3)
    assert "right" not in quality.describe(LabelSet("a", "infrared", labels))


def test_it_is_for_visible_labels_alone():
    assert resolve({"method": "taa"})[0].run.labels == "visible"
    for labels in ("none", "infrared"):
        with pytest.raises(SettingError, match=f"--method taa works with --labels visible, got {labels}"):
            resolve({"method": "taa", "labels": labels})


def test_schedule_and_what_the_second_stage_embeds():
    features = {m: {"deep": torch.randn(24, 8)} for m in ("visible", "infrared")}
    calls = []

    def extract(rows=None, *, translated=False):
        calls.append((translated, rows and {m: r.tolist() for m, r in rows.items()}))
        return features if rows is None else {m: features[m] for m in rows}

    settings, _ = resolve({"method": "taa", "k1": 5, "k2": 2, "eps": 0.6, "min_samples": 2})
    method = TAA(settings, None, {"visible": np.arange(24) % 6})
    assert method.restarts == (50,) and TAA(resolve({"method": "taa", "associate": False})[0]).restarts == ()
    (first,) = method.stages(49, extract, lambda make: make())
    assert first.name == "contrast" and calls == [(False, None)]
    np.testing.assert_array_equal(first.labels["visible"], np.arange(24) % 6)
    (second,) = method.stages(50, extract, lambda make: make())
    assert second.name == "associated" and calls[2:] == [(True, {"visible": list(range(24))})]
    associated = second.named("infrared_associated")
    partners = second.objectives["contrast"].partners
    clustered = second.labels["infrared"] >= 0
    np.testing.assert_array_equal(associated.ids[clustered], partners[second.labels["infrared"][clustered]])
    assert (associated.ids[~clustered] == -1).all() and associated.num_clusters == 6


@pytest.mark.long
def test_a_small_run_says_what_it_is_and_how_many_associations_are_right(flags, tmp_path, capsys):
    assert train_program.main(flags("sysu", "--method", "taa", "--translation", "fourier")) == 0
    text = capsys.readouterr().out
    said = ("semi-supervised: visible identities", TAA.status)
    assert all(words in text for words in said)
    first, second = rows(tmp_path / "run")
    assert (first["stage"], second["stage"]) == ("contrast", "associated")
    assert first["labels"]["visible"]["purity"] == 1 and first["labels"]["visible"]["outliers"] == 0
    assert 0 <= second["labels"]["infrared_associated"]["right"] <= 1
    assert {"cross_infrared_visible_deep", "cluster_visible_deep"} <= set(second["losses"])
    facts = json.loads((tmp_path / "run/environment.json").read_text())
    assert (facts["supervision"], facts["status"]) == said
    page = (tmp_path / "run/report.html").read_text()
    assert all(words[1:] in page for words in said)
