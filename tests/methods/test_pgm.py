"""PGM's iterations against the released trainer; its schedule; clusters without a partner."""

import numpy as np
import pytest
import torch
from helpers import parity
from helpers.linear_network import SHORT, LinearNetwork, step, views, whole_batch

from sdcl import association
from sdcl.clustering import PseudoLabels
from sdcl.config import resolve
from sdcl.methods import parts
from sdcl.methods.pgm import PGM

RATES = {"lr35e5": 3.5e-4, "lr1e2": 0.01}


def same(found, expected, tolerance):
    np.testing.assert_allclose(found.detach(), expected, atol=tolerance)


def objective_of(a, setting):
    """The objective of a recorded setting, such as "stage2hard_odd"; its memories are the initial ones."""
    method = PGM(
        resolve({"method": "pgm", "momentum": float(a["momentum"]), "use_hard": "hard" in setting})[0]
    )
    sources = {
        m: ({"deep": torch.from_numpy(a[f"memory_{s}"])}, np.arange(len(a[f"memory_{s}"])))
        for m, s in SHORT.items()
    }
    if setting == "stage1":
        return parts.ClusterContrast(sources, method.memory, first=False)
    matching = association.match_clusters(*(images["deep"] for images, _ in sources.values()))
    np.testing.assert_array_equal(matching.to_infrared, a["rgb_to_ir"])
    np.testing.assert_array_equal(matching.to_visible, a["ir_to_rgb"])
    return method.alternate_contrast(method.pgm.match_from + setting.endswith("odd"), sources, list(matching))


@parity.recorded("pgm_iteration", keys=r"(\w+)_(lr\w+)_it0_W_after")
def test_released_iterations(arrays, key):
    a, (setting, rate) = arrays, key
    network, objective = LinearNetwork(a, {"deep": ""}), objective_of(a, setting)
    optimizer = torch.optim.Adam(network.parameters(), lr=RATES[rate], weight_decay=5e-4)
    for i in range(len(a["input_ir"])):
        features = network(*views(a, i))
        batch = whole_batch({"visible": np.tile(a["labels_rgb"][i], 2), "infrared": a["labels_ir"][i]})
        terms = step(optimizer, [objective], features, batch)
        prefix = f"{setting}_{rate}_it{i}_"
        for m, s in SHORT.items():
            same(features[m]["deep"], a[f"{prefix}feat_{s}"], 2e-5)
            gradient = a[f"{prefix}grad_{s}"]
            same(features[m]["deep"].grad, gradient, 2e-5 * np.abs(gradient).max())
            same(terms[f"cluster_{m}_deep"], a[f"{prefix}loss_{s}"], 2e-5)
            same(objective.memory(m)(), a[f"{prefix}memory_{s}_after"], 1e-6)
            same(network.bias["deep"][m], a[f"{prefix}b_{s}_after"], 1e-6)
        same(network.weight["deep"], a[f"{prefix}W_after"], 1e-6)
        cross = [term for name, term in terms.items() if name.startswith("cross_")]
        assert len(cross) == (setting != "stage1")
        for term in cross:
            same(term / 0.25, a[f"{prefix}loss_cross"], 2e-5)


@pytest.mark.parametrize("partners", [[1, -1, 0], [-1, -1, -1]])
def test_images_of_clusters_without_a_partner_have_no_cross_term(partners):
    method = PGM(resolve({"method": "pgm"})[0])
    rows = torch.eye(3)
    sources = dict.fromkeys(SHORT, ({"deep": rows}, np.arange(3)))
    objective = method.alternate_contrast(50, sources, [np.array(partners), np.array([0, 1, 2])])
    features = {m: {"deep": torch.randn(6, 3).requires_grad_()} for m in SHORT}
    everyone = {m: {"deep": f["deep"].detach()} for m, f in features.items()}
    labels = np.array([0, 1, 2, 0, 1, 2])
    cross = objective(features, everyone, whole_batch(dict.fromkeys(SHORT, labels)))[
        "cross_visible_infrared_deep"
    ]
    cross.backward()
    untouched = np.array(partners)[labels] < 0
    assert (features["visible"]["deep"].grad[untouched] == 0).all()
    assert (cross != 0) == (max(partners) >= 0)


def test_schedule(monkeypatch):
    settings, _ = resolve({"method": "pgm", "dataset": "regdb"})
    method = PGM(settings)
    assert method.restarts == (30,) and PGM(resolve({"method": "pgm", "matching": False})[0]).restarts == ()
    pseudo = {m: PseudoLabels(np.arange(12) % 3, 3) for m in SHORT}
    monkeypatch.setattr(parts, "cluster_each", lambda *_: pseudo, raising=False)
    features = {m: {"deep": torch.randn(12, 4)} for m in SHORT}
    names = []
    for epoch in (29, 30, 31):
        (stage,) = method.stages(epoch, lambda: features, lambda make: make())
        names.append((stage.name, getattr(stage.objectives["contrast"], "anchor", None)))
    assert names == [("contrast", None), ("matched", "visible"), ("matched", "infrared")]
