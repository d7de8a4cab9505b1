"""HIL's iterations against the released trainer; its labels and centres."""

import numpy as np
import torch
from helpers import parity
from helpers.linear_network import SHORT, LinearNetwork, step, views, whole_batch

from sdcl.clustering import PseudoLabels
from sdcl.config import resolve
from sdcl.methods import parts
from sdcl.methods.hil import HIL

SUFFIX = {"deep": "", "shallow": "_s"}
RATES = {"lr35e6": 3.5e-5, "lr1e2": 0.01}


def t(array):
    return torch.from_numpy(array)


def same(found, expected, tolerance):
    np.testing.assert_allclose(found.detach(), expected, atol=tolerance)


def objectives_of(a, dataset, epoch):
    """The released objectives from the recorded memories and centres."""
    method = HIL(resolve({"method": "hil", "dataset": dataset})[0])
    shared = {b: t(a[f"clu_shared{s}"]) for b, s in SUFFIX.items()}
    instances = {m: {b: t(a[f"inst_{SHORT[m]}{s}"]) for b, s in SUFFIX.items()} for m in SHORT}
    centres = {b: t(a[f"centres{method.hil.centres + 1}{s}"]) for b, s in SUFFIX.items()}
    return {
        "neighbors": method.neighbor_learning(epoch, instances),
        "contrast": parts.ClusterContrast(
            (shared, np.arange(len(shared["deep"]))), method.memory, first=False
        ),
        "identity": method.identity_contrast(epoch, centres),
    }


@parity.recorded("hil_iteration", keys=r"(sysu|regdb)_e(\d+)_(lr\w+)_it0_W_after")
def test_released_iterations(arrays, key):
    a, (dataset, epoch, rate) = arrays, key
    network, objectives = LinearNetwork(a, SUFFIX, "param_"), objectives_of(a, dataset, int(epoch))
    optimizer = torch.optim.SGD(network.parameters(), lr=RATES[rate], momentum=0.9, weight_decay=5e-4)
    for i in range(len(a["input_ir"])):
        features = network(*views(a, i))
        batch = whole_batch(
            {"visible": np.tile(a["labels_rgb"][i], 2), "infrared": a["labels_ir"][i]},
            {"visible": np.tile(a["index_rgb"][i], 2), "infrared": a["index_ir"][i]},
        )
        terms = step(optimizer, objectives.values(), features, batch)
        prefix = f"{dataset}_e{epoch}_{rate}_it{i}_"
        same(sum(terms.values()), a[f"{prefix}loss_total"], 2e-5)
        for b, s in SUFFIX.items():
            for m, short in SHORT.items():
                same(features[m][b], a[f"{prefix}feat_{short}{s}"], 2e-5)
                gradient = a[f"{prefix}grad_{short}{s}"]
                same(features[m][b].grad, gradient, 2e-5 * np.abs(gradient).max())
                same(terms[f"cluster_{m}_{b}"], a[f"{prefix}loss_cluster_{short}{s}"], 2e-5)
                same(objectives["neighbors"].instances[m][b].rows, a[f"{prefix}after_inst_{short}{s}"], 1e-6)
                same(network.bias[b][m], a[f"{prefix}b_{short}{s}_after"], 1e-6)
            same(objectives["contrast"].memory("visible", b)(), a[f"{prefix}after_clu_shared{s}"], 1e-6)
            same(network.weight[b], a[f"{prefix}W{s}_after"], 1e-6)


@parity.recorded("hil_transfer", keys="(sysu|regdb)_label_after")
def test_labels_and_memories_of_an_epoch(arrays, key, monkeypatch):
    a, (dataset,) = arrays, key
    settings, _ = resolve({"method": "hil", "dataset": dataset})
    own = {"visible": a["labels_rgb_own"], "infrared": a["labels_ir"]}
    pseudo = iter([PseudoLabels(own[m], int(own[m].max()) + 1) for m in SHORT])
    monkeypatch.setattr(parts, "cluster", lambda *_, **__: next(pseudo), raising=False)
    features = {m: {b: t(a[f"{s}_{b}"]) for b in SUFFIX} for m, s in SHORT.items()}
    (stage,) = HIL(settings).stages(0, lambda: features, lambda make: make())
    np.testing.assert_array_equal(stage.labels["visible"], a[f"{dataset}_label_after"])
    np.testing.assert_array_equal(stage.labels["infrared"], a["labels_ir"])
    for branch in SUFFIX:
        shared = stage.objectives["contrast"].memory("infrared", branch)
        same(shared(), a[f"{dataset}_shared_memory_{branch}"], 1e-6)
        clusters, dims = shared().shape
        assert stage.objectives["identity"].get_buffer(branch).shape == (
            clusters,
            settings.method.centres + 1,
            dims,
        )


def test_shares_of_a_batch_make_up_its_identity_contrast():
    """Processes average their terms; here three images of the first half agree, and one of the second."""
    centres = torch.nn.functional.normalize(torch.tensor([[[1.0, 0.2]], [[0.1, 1.0]]]), dim=-1)  # (C, K, D)
    contrast = parts.IdentityContrast({"deep": centres, "shallow": centres}, {"deep": 1.0, "shallow": 0.5})
    deep = torch.tensor(
        [[1.0, 0.0], [0.9, 0.3], [0.1, 0.8], [0.2, 0.9], [1.0, 0.1], [0.7, 0.3], [0.1, 1.0], [0.3, 0.9]]
    )
    shallow = torch.tensor(
        [[0.8, 0.1], [0.7, 0.2], [0.2, 0.8], [1.0, 0.1], [0.1, 1.0], [0.1, 0.9], [0.9, 0.1], [0.2, 0.8]]
    )
    whole = {m: {"deep": deep, "shallow": shallow} for m in SHORT}
    terms = contrast(whole, whole, None)
    halves = [
        {m: {b: f[part] for b, f in fs.items()} for m, fs in whole.items()}
        for part in (slice(4), slice(4, 8))
    ]
    shares = [contrast(half, whole, None) for half in halves]
    for name, term in terms.items():
        assert term > 0 and torch.isclose(sum(share[name] for share in shares) / 2, term), name
