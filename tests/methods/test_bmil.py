"""BMIL's iterations and the preparation of an epoch against the released trainer;
its schedule and its halves.
"""

import numpy as np
import pytest
import torch
from helpers import parity
from helpers.linear_network import SHORT, LinearNetwork, step, views, whole_batch

from sdcl import clustering
from sdcl.clustering import PseudoLabels
from sdcl.config import resolve
from sdcl.memory import Prototypes
from sdcl.methods import parts
from sdcl.methods.bmil import BMIL
from sdcl.methods.interface import Batch, NoClusters

RATES = {"lr35e5": 3.5e-4, "lr1e2": 0.01}


def t(array):
    return torch.from_numpy(np.asarray(array))


def same(found, expected, tolerance):
    np.testing.assert_allclose(found.detach(), expected, atol=tolerance)


def fill(memory, rows):
    mean, hard = t(rows).chunk(2)
    memory.mean.copy_(mean)
    memory.hard.copy_(hard)


def check_gradients(features, a, prefix, infix=""):
    for m, s in SHORT.items():
        same(features[m]["deep"], a[f"{prefix}feat_{infix}{s}"], 2e-5)
        gradient = a[f"{prefix}grad_{infix}{s}"]
        same(features[m]["deep"].grad, gradient, 2e-5 * np.abs(gradient).max())


def check_parameters(network, a, prefix, when):
    same(network.weight["deep"], a[f"{prefix}W_after{when}"], 1e-6)
    for m, s in SHORT.items():
        same(network.bias["deep"][m], a[f"{prefix}b_{s}_after{when}"], 1e-6)


@parity.recorded("bmil_iteration", keys=r"stage(1|2)_(lr\w+)_it0_loss_ir")
def test_released_iterations(arrays, key):
    """In stage 2 a step on each modality's clusters,
    then one on the common clusters with the same optimiser.
    """
    a, (stage, rate) = arrays, key
    method, network = BMIL(resolve({"method": "bmil"})[0]), LinearNetwork(a, {"deep": ""})
    sizes = {m: len(a[f"memory_{s}"]) // 2 for m, s in SHORT.items()}
    sources = {m: ({"deep": t(a[f"memory_{s}"][: sizes[m]])}, np.arange(sizes[m])) for m, s in SHORT.items()}
    within = parts.HybridContrast(sources, method.memory, method.bmil.margin, first=False)
    for m, s in SHORT.items():
        fill(within.memory(m), a[f"memory_{s}"])
    count = len(a["proxy_labels"])
    joint = method.split_contrast(
        {"deep": Prototypes(t(a["memory_all"][:count]), a["proxy_labels"], a["proxy_modality"], np.arange(0))}
    )
    fill(joint.memory(), a["memory_all"])
    optimizer = torch.optim.Adam(network.parameters(), lr=RATES[rate], weight_decay=5e-4)
    for i in range(len(a["input_ir"])):
        prefix = f"stage{stage}_{rate}_it{i}_"
        features = network(*views(a, i))
        batch = whole_batch({"visible": np.tile(a["labels_rgb"][i], 2), "infrared": a["labels_ir"][i]})
        terms = step(optimizer, [within], features, batch)
        check_gradients(features, a, prefix)
        for m, s in SHORT.items():
            same(terms[f"hybrid_{m}_deep"], a[f"{prefix}loss_{s}"], 2e-5)
            same(torch.cat(within.memory(m)()), a[f"{prefix}memory_{s}_after"], 1e-6)
        intra = f"{prefix}W_after_intra" in a
        check_parameters(network, a, prefix, "_intra" if intra else "")
        if stage == "1":
            continue
        features = network(*views(a, i, "global_"))
        batch = whole_batch(
            {"visible": np.tile(a["global_labels_rgb"][i], 2), "infrared": a["global_labels_ir"][i]}
        )
        terms = step(optimizer, [joint], features, batch)
        check_gradients(features, a, prefix, "global_")
        same(sum(terms.values()), a[f"{prefix}loss2"], 2e-5)
        for m, s in SHORT.items():
            same(2 * terms[f"joint_{m}_deep"], a[f"{prefix}loss_global_{s}"], 2e-5)
        same(torch.cat(joint.memory()()), a[f"{prefix}memory_all_after"], 1e-6)
        check_parameters(network, a, prefix, "_global")


@parity.recorded("bmil_epoch", keys="(sysu|regdb)_labels_all")
def test_released_preparation_of_an_epoch(arrays, key, monkeypatch):
    a, (dataset,) = arrays, key
    method = BMIL(resolve({"method": "bmil", "dataset": dataset})[0])
    if dataset == "sysu":
        monkeypatch.setattr(method, "halves", lambda *_: (a["subset0"], a["subset1"]))
    features = {m: {"deep": t(a[f"features_{s}"])} for m, s in SHORT.items()}
    (stage,) = method.stages(method.bmil.joint_from, lambda: features, lambda make: make())
    for m, s in SHORT.items():
        np.testing.assert_array_equal(stage.labels[m], a[f"{dataset}_labels_{s}"])
        same(torch.cat(stage.objectives["hybrid"].memory(m)()), a[f"{dataset}_memory_{s}"], 1e-6)
    joint = stage.alternate
    together = a["subset1"] if dataset == "sysu" else np.arange(len(a["features_rgb"]))
    both = np.concatenate((joint.labels["visible"][together], joint.labels["infrared"]))
    np.testing.assert_array_equal(both, a[f"{dataset}_labels_all"])
    same(torch.cat(joint.objectives["joint"].memory()()), a[f"{dataset}_proxy_memory"], 1e-6)
    np.testing.assert_array_equal(joint.objectives["joint"].clusters, a[f"{dataset}_proxy_labels"])


def test_halves():
    method = BMIL(resolve({"method": "bmil"})[0])
    alone, together = method.halves(3, 101)
    assert len(alone) == len(together) == 50 and not set(alone) & set(together)
    assert not np.array_equal(method.halves(4, 101)[0], alone) and np.array_equal(
        method.halves(3, 101)[0], alone
    )
    regdb = BMIL(resolve({"method": "bmil", "dataset": "regdb"})[0])
    assert all(np.array_equal(half, np.arange(7)) for half in regdb.halves(0, 7))


def test_schedule():
    assert BMIL(resolve({"method": "bmil"})[0]).restarts == (50,)
    assert BMIL(resolve({"method": "bmil", "joint": False})[0]).restarts == ()


def test_common_clusters_of_one_modality_are_refused(monkeypatch):
    method = BMIL(resolve({"method": "bmil", "visible_halves": False})[0])
    pseudo = PseudoLabels(np.arange(12) % 3, 3)
    common = PseudoLabels(np.concatenate((np.arange(12) % 3, np.full(12, -1))), 3)
    monkeypatch.setattr(parts, "cluster", lambda *_, **__: pseudo, raising=False)
    monkeypatch.setattr(clustering, "joint_pseudo_labels", lambda *_, **__: common, raising=False)
    features = {m: {"deep": torch.randn(12, 4)} for m in SHORT}
    with pytest.raises(NoClusters, match="--no-joint"):
        list(method.stages(50, lambda: features, lambda make: make()))


@pytest.mark.parametrize(("selected", "told"), [(2, 0), (6, 0), (7, 1), (50, 1)])
def test_fewer_prototypes_than_selected_are_told(monkeypatch, selected, told):
    """Three common clusters with images of both modalities: six prototypes."""
    method = BMIL(resolve({"method": "bmil", "visible_halves": False, "selected_prototypes": selected})[0])
    pseudo = PseudoLabels(np.arange(12) % 3, 3)
    common = PseudoLabels(np.arange(24) % 3, 3)
    monkeypatch.setattr(parts, "cluster", lambda *_, **__: pseudo, raising=False)
    monkeypatch.setattr(clustering, "joint_pseudo_labels", lambda *_, **__: common, raising=False)
    features = {m: {"deep": torch.randn(12, 4)} for m in SHORT}
    (stage,) = method.stages(50, lambda: features, lambda make: make())
    assert len(stage.alternate.notes) == told and stage.notes == ()
    assert all(f"--selected-prototypes {selected}" in note for note in stage.alternate.notes)


@pytest.mark.parametrize(("margin", "above"), [(0.2, True), (9.0, False)])
def test_the_margin_is_of_the_whole_batch_on_any_number_of_processes(margin, above):
    """Processes average their terms and gradients; here only one half's mean loss is above the margin."""
    method = BMIL(resolve({"method": "bmil", "margin": margin})[0])
    rows, labels = torch.eye(4), {m: np.array([0, 1, 2, 3, 1, 2]) for m in SHORT}
    deep = torch.eye(4)[[0, 1, 2, 1, 0, 3]] + 0.1  # the second half is wrong
    whole = {m: {"deep": deep} for m in SHORT}

    def share(part):
        sources = {m: ({"deep": rows}, np.arange(4)) for m in SHORT}
        contrast = parts.HybridContrast(sources, method.memory, method.bmil.margin, first=False)
        for m in SHORT:
            contrast.memory(m).hard.copy_(rows.roll(1, 0))
        live = {m: {"deep": deep[part].clone().requires_grad_()} for m in SHORT}
        terms = contrast(live, whole, Batch(labels, labels, dict.fromkeys(SHORT, part)))
        sum(terms.values()).backward()
        return terms, torch.cat([live[m]["deep"].grad for m in SHORT], 1)

    one, gradient = share(slice(6))
    halves = [share(part) for part in (slice(3), slice(3, 6))]
    for name, term in one.items():
        torch.testing.assert_close(sum(terms[name] for terms, _ in halves) / 2, term)
    torch.testing.assert_close(torch.cat([g for _, g in halves]) / 2, gradient)
    means = [
        torch.nn.functional.cross_entropy(
            torch.nn.functional.normalize(deep[part]) @ rows.T / 0.05, t(labels["visible"][part])
        )
        for part in (slice(3), slice(3, 6), slice(6))
    ]
    assert means[0] < margin < means[1] and (means[2] > margin) == above
