"""DCCL against loops over its formulas, and against SDCL's neighbour learning where the formula is the same;
its schedule, switches and identity memories; shards of a batch.
"""

import numpy as np
import pytest
import torch
from helpers import parity
from helpers.linear_network import SHORT, whole_batch
from torch.nn.functional import normalize

from sdcl.clustering import PseudoLabels
from sdcl.config import flat, resolve
from sdcl.losses import neighbor_contrast
from sdcl.memory import Prototypes
from sdcl.methods import Batch, dccl, parts
from sdcl.methods.dccl import DCCL
from sdcl.methods.parts import dual_consistency
from sdcl.runtime.errors import SettingError

TAU, SUFFIX = 0.05, {"deep": "", "shallow": "_s"}
SIZES = {"visible": 24, "infrared": 20}
CAMERAS = {"visible": np.arange(24) % 3 + 1, "infrared": np.arange(20) % 2 + 1}
PAIRS = [("visible", "visible"), ("infrared", "infrared"), ("visible", "infrared"), ("infrared", "visible")]


def method_of(cameras=CAMERAS, **given):
    return DCCL(resolve({"method": "dccl", **given})[0], cameras)


def images_of(seed=0, spread=0.6):
    """modality -> branch -> (N, D) around five centres that the modalities share, and their clusters."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(5, 8, generator=generator)
    labels = {m: np.arange(n) % 5 for m, n in SIZES.items()}
    features = {
        m: {"deep": centres[labels[m]] + spread * torch.randn(n, 8, generator=generator)}
        for m, n in SIZES.items()
    }
    labels["visible"][3] = -1
    return features, labels


def stages_of(monkeypatch, features, labels, epochs, **given):
    method = method_of(**given)
    pseudo = {m: PseudoLabels(y, 5) for m, y in labels.items()}
    monkeypatch.setattr(parts, "cluster_each", lambda *_: pseudo, raising=False)
    return [next(method.stages(e, lambda: features, lambda make: make())) for e in epochs]


def batch_of(labels, local=None):
    """Two views of eight visible images, and eight infrared ones."""
    indexes = {"visible": np.tile(np.r_[4:12], 2), "infrared": np.r_[2:10]}
    whole = whole_batch({m: labels[m][i] for m, i in indexes.items()}, indexes)
    return Batch(whole.labels, whole.indexes, local) if local else whole


def live_of(features, batch, seed=1):
    generator = torch.Generator().manual_seed(seed)
    rows = {m: features[m]["deep"][batch.indexes[m]] for m in SHORT}
    return {
        m: {"deep": (2 * r + 0.5 * torch.randn(r.shape, generator=generator)).requires_grad_()}
        for m, r in rows.items()
    }


def detached(features):
    return {m: {b: f.detach() for b, f in branches.items()} for m, branches in features.items()}


def described(row, prototypes):
    """g of a unit row, by the loop: a softmax for each camera."""
    softmaxes = [
        (prototypes.rows[prototypes.parts == c].double() @ row / TAU).softmax(0)
        for c in np.unique(prototypes.parts)
    ]
    return normalize(torch.cat(softmaxes), dim=0)


@pytest.mark.parametrize("epoch", [50, 51])
def test_losses_equal_the_loop(monkeypatch, epoch):
    features, labels = images_of()
    (stage,) = stages_of(monkeypatch, features, labels, [epoch])
    batch = batch_of(labels)
    live = live_of(features, batch)
    objective = stage.objectives["consistency"]
    before = {m: objective.memory(m)().double() for m in SHORT}
    terms = objective(live, detached(live), batch)
    assert ("visible", "infrared") in objective.identities or epoch % 2
    for (anchor, target), prototypes in objective.identities.items():
        bank, losses, found = before[target], [], 0
        g_bank = torch.stack([described(w, prototypes) for w in bank])
        for f in live[anchor]["deep"].detach().double():
            f = normalize(f, dim=0)
            a, p = bank @ f, g_bank @ described(f, prototypes)
            mask = (a > 0.8 * a.max()) & (p > 0.8 * p.max())
            log_p = torch.log_softmax(a / TAU, 0).exp().clamp_min(1e-8).log()
            losses.append(-(log_p * mask).sum() / (1 + mask.sum()))
            found += int(mask.sum())
        assert len(losses) < found < len(losses) * len(bank)  # neither nobody nor everybody
        np.testing.assert_allclose(
            terms[f"neighbor_{anchor}_{target}_deep"].item(), torch.stack(losses).mean(), rtol=1e-5
        )
    for m in SHORT:
        logits = normalize(live[m]["deep"].detach().double()) @ before[m].T / TAU
        expected = [-torch.log_softmax(row, 0)[i] for row, i in zip(logits, batch.indexes[m])]
        np.testing.assert_allclose(
            terms[f"instance_{m}_deep"].item(), sum(expected) / len(expected), rtol=1e-5
        )
        for f, i in zip(live[m]["deep"].detach().double(), batch.indexes[m]):
            before[m][i] = normalize(0.1 * before[m][i] + 0.9 * normalize(f, dim=0), dim=0)
        np.testing.assert_allclose(objective.memory(m)(), before[m], atol=1e-6)


@parity.recorded("sdcl_losses", keys=r"(sysu)_e(12|13)_loss_total")
def test_is_sdcls_neighbour_learning_where_identities_are_shallow_rows(arrays, key, monkeypatch):
    """Masks and losses of the recorded features; and every term and memory of a step whose features are the
    memories' rows, so that both methods' masks are the same.
    """
    a, epoch = arrays, int(key[1])
    banks = {m: {b: torch.from_numpy(a[f"inst_{s}{x}"]) for b, x in SUFFIX.items()} for m, s in SHORT.items()}
    indexes = {m: a[f"index_{s}"] for m, s in SHORT.items()}
    every = torch.cat([banks[m]["deep"] for m in SHORT]), torch.cat([banks[m]["shallow"] for m in SHORT])
    monkeypatch.setattr(
        dual_consistency, "identity_descriptions", lambda f, *_: every[1][(f @ every[0].T).argmax(1)]
    )
    prototypes = Prototypes(None, None, None, None)  # the descriptions above need none
    options = {"threshold": 0.9, "temp": TAU, "momentum": 0.9, "late_gradients": True}
    ours = parts.DualConsistency(
        banks, dict.fromkeys(PAIRS, prototypes), instance=False, identity_temp=TAU, **options
    )
    rows = {m: {b: banks[m][b][indexes[m]].clone() for b in SUFFIX} for m in SHORT}
    for pair, name in zip(PAIRS, ("rgb_rgb", "ir_ir", "rgb_to_ir", "ir_to_rgb")):
        recorded = a[f"sysu_e{epoch}_loss_nb_{name}"]
        mask = ours.neighbors(rows[pair[0]]["deep"], ours.memory(pair[1])(), pair)
        live = torch.from_numpy(a[f"feat_{SHORT[pair[0]]}"])
        loss = neighbor_contrast(live, mask, ours.memory(pair[1])(), TAU)
        if pair == ("visible", "infrared"):
            loss = 0.1 * loss  # the released factor
        if pair != PAIRS[2 + (epoch + 1) % 2]:  # the direction of the other epochs, which is recorded as 0
            assert loss.item() == pytest.approx(float(recorded), abs=1e-5)
    theirs = parts.NeighborLearning(
        banks, dict.fromkeys(PAIRS, 1.0), {"deep": 1.0, "shallow": 1.0}, raw_update=False, **options
    )
    batch, gradients, terms = whole_batch(indexes), [], []
    for objective in (ours, theirs):
        live = {m: {b: 3 * rows[m][b].clone().requires_grad_() for b in SUFFIX} for m in SHORT}
        for branches in live.values():
            branches["deep"].retain_grad()
        terms.append(objective(live, detached(live), batch))
        sum(term for name, term in terms[-1].items() if name.endswith("deep")).backward()
        gradients.append({m: live[m]["deep"].grad for m in SHORT})
    for name, term in terms[0].items():
        torch.testing.assert_close(term, terms[1][name])
    for m in SHORT:
        torch.testing.assert_close(gradients[0][m], gradients[1][m])
        torch.testing.assert_close(ours.memory(m).rows, theirs.instances[m]["deep"].rows)


@pytest.mark.parametrize("refined", [False, True])
def test_identity_memory(monkeypatch, refined):
    """Proxies of each camera; without cameras the rows of the cluster memories, shared after refinement."""
    features, labels = images_of()
    with_cameras = method_of().identity_memory(features, labels, refined)
    for m in SHORT:
        for row, cluster, part in zip(with_cameras[m].rows, with_cameras[m].clusters, with_cameras[m].parts):
            camera = part - (CAMERAS["visible"].max() + 1 if m == "infrared" else 0)
            members = (labels[m] == cluster) & (CAMERAS[m] == camera)
            torch.testing.assert_close(row, normalize(features[m]["deep"][members].mean(0), dim=0))
    rows = torch.cat([with_cameras[m].rows for m in SHORT])
    assert len(with_cameras["both"].rows) == len(rows) == 5 * 5
    assert sorted(with_cameras["both"].rows[:, 0].tolist()) == pytest.approx(sorted(rows[:, 0].tolist()))

    method = method_of(camera=False)
    without = method.identity_memory(features, labels, refined)
    source = {m: (features[m], labels[m]) for m in SHORT}
    contrast = parts.ClusterContrast(
        parts.joint_source(features, labels) if refined else source, method.memory, first=False
    )
    for m in SHORT:
        torch.testing.assert_close(without[m].rows, contrast.memory(m)())
        assert len(set(without[m].parts)) == 1
    assert len(without["both"].rows) == (5 if refined else 10)
    assert len(set(without["both"].parts)) == (1 if refined else 2)


def test_refined_labels_and_memories(monkeypatch):
    features, labels = images_of(spread=0.1)
    labels["infrared"] = (labels["infrared"] + 2) % 5
    (stage,) = stages_of(monkeypatch, features, labels, [80])
    expected = (np.arange(24) % 5 + 2) % 5  # its own infrared cluster, also of the outlier
    assert stage.name == "refined"
    np.testing.assert_array_equal(stage.labels["visible"], expected)
    np.testing.assert_array_equal(stage.named("visible_associated").ids, expected)
    np.testing.assert_array_equal(stage.named("visible").ids, labels["visible"])
    memories = stage.objectives["contrast"].memories["deep"]
    assert memories["visible"] is memories["infrared"]
    joined = torch.cat([features[m]["deep"] for m in SHORT])
    ids = np.concatenate([stage.labels[m] for m in SHORT])
    torch.testing.assert_close(memories["visible"].rows[3], normalize(joined[ids == 3].mean(0), dim=0))


def test_recipes():
    """ADCA's values, and those chosen here where nothing is known."""
    values = {
        "arch": "resnet50", "shallow": False, "batch_size": 128, "batch_size_visible": 128,
        "num_instances": 16, "optimizer": "adam", "lr": 3.5e-4, "weight_decay": 5e-4, "step_size": 20,
        "temp": 0.05, "momentum": 0.1, "k1": 30, "k2": 6, "min_samples": 4, "height": 288, "width": 144,
        "epochs": 100, "interact_from": 50, "refine_clusters": 5, "identity_temp": 0.05,
        "consistency_threshold": 0.8, "consistency_momentum": 0.1, "camera_weight": 0.1, "camera_temp": 0.07,
        "camera_negatives": 50, "second_view": True,
    }  # fmt: skip
    particular = {
        "sysu": {"iters": 200, "eps": 0.6, "refine_from": 80, "refine_k": 20, "camera": True},
        "regdb": {"iters": 100, "eps": 0.3, "refine_from": 70, "refine_k": 10, "camera": False},
        "custom": {"iters": 200, "eps": 0.6, "refine_from": 80, "refine_k": 20, "camera": False},
    }
    for dataset, own in particular.items():
        assert (values | own).items() <= flat(resolve({"method": "dccl", "dataset": dataset})[0]).items()


@pytest.mark.parametrize(
    "dataset,epochs",
    [("sysu", {49: "contrast", 50: "interaction", 79: "interaction", 80: "refined"}),
     ("regdb", {49: "contrast", 50: "interaction", 69: "interaction", 70: "refined"})],
)  # fmt: skip
def test_schedule(monkeypatch, dataset, epochs):
    features, labels = images_of()
    stages = stages_of(monkeypatch, features, labels, epochs, dataset=dataset)
    assert [stage.name for stage in stages] == list(epochs.values())
    added = {"consistency", "cameras"} if dataset == "sysu" else {"consistency"}
    for epoch, stage in zip(epochs, stages):
        assert set(stage.objectives) - {"contrast"} == (added if epoch >= 50 else set())
        if epoch >= 50:
            crossing = [pair for pair in stage.objectives["consistency"].identities if pair[0] != pair[1]]
            assert crossing == [PAIRS[2 + epoch % 2]]
    assert method_of(dataset=dataset).restarts == (50,)


def test_switches(monkeypatch):
    """Each switch removes its terms and leaves the others as they are."""
    features, labels = images_of()
    batch = batch_of(labels)

    def terms_of(**given):
        (stage,) = stages_of(monkeypatch, features, labels, [80], refine_from=90, **given)
        live = live_of(features, batch)
        terms = {}
        for objective in stage.objectives.values():
            terms |= objective(live, detached(live), batch)
        return {name: term.item() for name, term in terms.items()}

    every = terms_of()
    gone = {
        "homogeneous": {"neighbor_visible_visible_deep", "neighbor_infrared_infrared_deep"},
        "heterogeneous": {"neighbor_visible_infrared_deep"},
        "instance": {"instance_visible_deep", "instance_infrared_deep"},
    }
    for switch, names in gone.items():
        terms = terms_of(**{switch: False})
        assert set(every) - set(terms) == names
        assert terms == {name: every[name] for name in terms}
    assert set(every) - set(terms_of(camera=False)) == {"camera_visible_deep", "camera_infrared_deep"}
    plain = terms_of(homogeneous=False, heterogeneous=False, instance=False, camera=False)
    assert set(plain) == {"cluster_visible_deep", "cluster_infrared_deep"}


def test_without_refinement_the_labels_stay(monkeypatch):
    features, labels = images_of()
    (stage,) = stages_of(monkeypatch, features, labels, [99], refinement=False)
    assert stage.name == "interaction" and (stage.labels["visible"] == labels["visible"]).all()


def test_cameras_are_refused_where_there_are_none():
    single = {m: np.ones(n, int) for m, n in SIZES.items()}
    with pytest.raises(SettingError, match=r"camera contrast without cameras.*regdb.*--no-camera"):
        method_of(single, dataset="regdb", camera=True)
    method_of(single, dataset="regdb")
    method_of(single, dataset="custom")
    method_of({**single, "visible": CAMERAS["visible"]}, dataset="custom", camera=True)  # one side has them


def test_shards_give_the_losses_of_the_whole_batch(monkeypatch):
    """The mean over two processes of each loss and the sum of gradients are those of one process."""
    features, labels = images_of()
    halves = [{"visible": slice(8 * i, 8 * i + 8), "infrared": slice(4 * i, 4 * i + 4)} for i in range(2)]
    found = []
    for locals_ in ([dict.fromkeys(SHORT, slice(None))], halves):
        terms, gradients, rows = [], [], []
        for local in locals_:
            (stage,) = stages_of(monkeypatch, features, labels, [50])
            batch = batch_of(labels, local)
            live = live_of(features, batch)
            mine = {m: {"deep": f["deep"][local[m]]} for m, f in live.items()}
            one = {}
            for name in ("consistency", "cameras"):
                one |= stage.objectives[name](mine, detached(live), batch)
            (sum(one.values()) / len(locals_)).backward()
            terms.append(one)
            gradients.append({m: f["deep"].grad for m, f in live.items()})
            rows.append(stage.objectives["consistency"].memory("visible").rows)
        found.append((terms, gradients))
        torch.testing.assert_close(rows[0], rows[-1])
    (whole, gradient), (shards, shard_gradients) = found
    for name, term in whole[0].items():
        torch.testing.assert_close(sum(s[name] for s in shards) / 2, term)
    for m in SHORT:
        torch.testing.assert_close(sum(g[m] for g in shard_gradients), gradient[0][m])


def test_every_term_goes_down(monkeypatch):
    """A step against a term's gradient lowers it while masks and memories rest."""
    features, labels = images_of()
    batch = batch_of(labels)

    def terms_of(live):
        (stage,) = stages_of(monkeypatch, features, labels, [50], late_gradients=False)
        objectives = (stage.objectives["consistency"], stage.objectives["cameras"])
        monkeypatch.setattr(objectives[0], "neighbors", lambda f, bank, pair: masks[pair])
        return objectives[0](live, detached(live), batch) | objectives[1](live, detached(live), batch)

    live = live_of(features, batch)
    (stage,) = stages_of(monkeypatch, features, labels, [50])
    objective = stage.objectives["consistency"]
    masks = {
        pair: objective.neighbors(live[pair[0]]["deep"], objective.memory(pair[1])(), pair)
        for pair in objective.identities
    }
    for name, term in terms_of(live).items():
        modality = name.split("_")[1]
        feature = live[modality]["deep"]
        (gradient,) = torch.autograd.grad(term, feature, retain_graph=True)
        moved = {**live, modality: {"deep": (feature - 0.1 * gradient).detach()}}
        assert terms_of(moved)[name] < term, name


def test_status_is_said_and_no_number_is_promised():
    assert DCCL.status in " ".join(dccl.__doc__.split())
    assert DCCL.status.endswith("no published number to compare with")
