"""One complete SDCL iteration, and the unified stage's labels and centroids, against the released arrays."""

import numpy as np
import torch
from helpers import parity
from torch.nn import ModuleDict

from sdcl import association
from sdcl.clustering import PseudoLabels
from sdcl.config import resolve
from sdcl.memory import ClusterMemory, InstanceMemory
from sdcl.methods import parts
from sdcl.methods.interface import Batch
from sdcl.methods.sdcl import SDCL, neighbor_pairs

SHORT = {"visible": "rgb", "infrared": "ir"}
SUFFIX = {"deep": "", "shallow": "_s"}
ITERATIONS = parity.recorded("sdcl_losses", keys=r"(sysu|regdb)_e(\d+)_loss_total")


def t(array):
    return torch.from_numpy(array)


def iteration(a, dataset, epoch, moved=None, **given):
    """One step from the released state: memories from the arrays, not from centroids. -> method,
    objectives, features, terms.
    """
    settings, _ = resolve({"dataset": dataset, **given})
    method = SDCL(settings)
    unified = method.unified(epoch)
    clusters = {
        b: {m: ClusterMemory(t(a[f"clu_shared{s}" if unified else f"clu_{SHORT[m]}{s}"])) for m in SHORT}
        for b, s in SUFFIX.items()
    }
    features = {
        m: {b: t(a[f"feat_{SHORT[m]}{s}"]).clone().requires_grad_() for b, s in SUFFIX.items()} for m in SHORT
    }
    source = ({b: f.detach() for b, f in features["infrared"].items()}, np.arange(len(a["feat_ir"])))
    contrast = parts.ClusterContrast(
        source if unified else dict.fromkeys(SHORT, source), settings.memory, first=epoch == 0
    )
    for b in SUFFIX:
        one = clusters[b]["visible"]
        contrast.memories[b] = ModuleDict({m: one if unified else clusters[b][m] for m in SHORT})
    objectives = {"contrast": contrast}
    if pairs := neighbor_pairs(method.sdcl, epoch, unified):
        instances = {m: {b: t(a[f"inst_{SHORT[m]}{s}"]) for b, s in SUFFIX.items()} for m in SHORT}
        objectives = {"neighbors": method._neighbor_learning(instances, pairs), **objectives}
    visible_labels = a["labels_rgb_unified"] if unified else a["labels_rgb"]
    batch = Batch(
        {"visible": visible_labels, "infrared": a["labels_ir"]},
        {"visible": a["index_rgb"], "infrared": a["index_ir"]},
        {"visible": slice(None), "infrared": slice(None)},
    )
    for (m, b), feature in (moved or {}).items():
        features[m][b] = feature
    gathered = {m: {b: f.detach() for b, f in branches.items()} for m, branches in features.items()}
    terms = {}
    for objective in objectives.values():
        terms |= objective(features, gathered, batch)
    if moved is None:
        sum(terms.values()).backward()
    return method, objectives, features, terms


def close(found, expected, atol):
    np.testing.assert_allclose(
        np.asarray(found.detach() if torch.is_tensor(found) else found), expected, atol=atol, rtol=0
    )


@ITERATIONS
def test_released_iteration(arrays, key):
    a, dataset, epoch = arrays, key[0], int(key[1])
    p = f"{dataset}_e{epoch:02d}_"
    method, objectives, features, terms = iteration(a, dataset, epoch)
    close(sum(terms.values()), a[p + "loss_total"], 2e-5)
    a_weight, c_weight = (0.1, 0.1) if method.unified(epoch) else (1, 0.5)
    for b, s in SUFFIX.items():
        for m, short in SHORT.items():
            close(terms[f"cluster_{m}_{b}"], a[f"{p}loss_cluster_{short}{s}"], 1e-5)
            gradient = a[f"{p}grad_{short}{s}"]
            close(features[m][b].grad, gradient, 1e-5 * np.abs(gradient).max())
            expected = f"{p}after_inst_{short}{s}"
            if "neighbors" in objectives:
                close(objectives["neighbors"].instances[m][b].rows, a[expected], 1e-6)
            else:
                # no loss of this epoch looks at the instance memories, and the next one rebuilds them: a run
                # leaves them out
                memory = InstanceMemory(t(a[f"inst_{short}{s}"]))
                memory.update(features[m][b].detach(), a[f"index_{short}"], 0.9)
                close(memory.rows, a[expected], 1e-6)
            after = f"{p}after_clu_shared{s}" if method.unified(epoch) else f"{p}after_clu_{short}{s}"
            close(objectives["contrast"].memories[b][m].rows, a[after], 1e-6)
        for name, weight, pair in (
            ("rgb_rgb", a_weight, "visible_visible"),
            ("ir_ir", a_weight, "infrared_infrared"),
            ("rgb_to_ir", c_weight, "visible_infrared"),
            ("ir_to_rgb", c_weight, "infrared_visible"),
        ):
            close(
                terms.get(f"neighbor_{pair}_{b}", torch.zeros(())), weight * a[f"{p}loss_nb_{name}{s}"], 1e-5
            )


@ITERATIONS
def test_clean_gradients(arrays, key):
    a, dataset, epoch = arrays, key[0], int(key[1])
    p = f"{dataset}_e{epoch:02d}_"
    _, _, features, terms = iteration(a, dataset, epoch, late_gradients=False)
    close(sum(terms.values()), a[p + "loss_total"], 2e-5)
    for b, s in SUFFIX.items():
        for m, short in SHORT.items():
            gradient = a[f"{p}gradfrozen_{short}{s}"]
            close(features[m][b].grad, gradient, 1e-5 * np.abs(gradient).max())


@parity.recorded("sdcl_cra", keys=r"top(\d+)_keep_rgb")
def test_unified_stage(arrays, key, monkeypatch):
    """Labels, kept images and shared centroids; the released choice is put in where it is undefined."""
    a, k = arrays, int(key[0])
    dataset = {20: "sysu", 10: "regdb"}[k]
    settings, _ = resolve({"dataset": dataset})
    assert settings.method.cra_k == k
    method = SDCL(settings)
    features = {m: {b: t(a[f"{SHORT[m]}_{b}"]) for b in SUFFIX} for m in SHORT}
    own = {
        "visible": PseudoLabels(a["labels_rgb_own"], a["labels_rgb_own"].max() + 1),
        "infrared": PseudoLabels(a["labels_ir"], a["labels_ir"].max() + 1),
    }
    monkeypatch.setattr(method, "_cluster", lambda f, m, epoch: own[m])
    monkeypatch.setattr(association, "collaborative_ranking", lambda *_: a[f"top{k}_label_before"])
    (stage,) = method.stages(settings.method.unify_from, lambda: features, lambda make: make())
    np.testing.assert_array_equal(stage.named("visible_associated").ids, a[f"top{k}_label_after"])
    for m, short in SHORT.items():
        kept = np.flatnonzero(stage.labels[m] != -1)
        np.testing.assert_array_equal(kept, a[f"top{k}_keep_{short}"])
        np.testing.assert_array_equal(stage.labels[m][kept], a[f"top{k}_keep_{short}_label"])
    assert stage.named("visible_associated").occupied == a[f"top{k}_num_cluster_rgb"]
    clusters = stage.objectives["contrast"].memories
    for b in SUFFIX:
        assert clusters[b]["visible"] is clusters[b]["infrared"]
        close(clusters[b]["visible"].rows, a[f"top{k}_shared_memory_{b}"], 1e-5)
    assert stage.iterations == (100 if dataset == "sysu" else 50)


@parity.recorded("sdcl_losses")
def test_every_term_goes_down(arrays):
    """A gradient step on the features lowers each kind of loss while the memories rest."""
    a = arrays
    for epoch in (12, 13, 31):
        for name in terms_at(a, epoch):
            modality, branch = name.split("_")[1], name.split("_")[-1]
            feature = t(a[f"feat_{SHORT[modality]}{SUFFIX[branch]}"]).clone().requires_grad_()
            before = terms_at(a, epoch, {(modality, branch): feature})[name]
            (gradient,) = torch.autograd.grad(before, feature)
            after = terms_at(a, epoch, {(modality, branch): (feature - 0.5 * gradient).detach()})[name]
            assert after.item() < before.item(), name


def terms_at(a, epoch, moved=None):
    return iteration(a, "sysu", epoch, moved, late_gradients=False)[3]
