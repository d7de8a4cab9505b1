"""ADCA's second stage and one of its iterations against the released arrays; its schedule."""

import numpy as np
import torch
from helpers import parity

from sdcl.clustering import PseudoLabels
from sdcl.config import resolve
from sdcl.methods import Batch, parts
from sdcl.methods.adca import ADCA

SHORT = {"visible": "rgb", "infrared": "ir"}


def t(array):
    return torch.from_numpy(array)


def stage_of(a, monkeypatch, epoch, **said):
    settings, _ = resolve({"method": "adca", **said})
    own = {m: PseudoLabels(a[f"labels_{s}"], int(a[f"labels_{s}"].max()) + 1) for m, s in SHORT.items()}
    monkeypatch.setattr(parts, "cluster_each", lambda *_: own)
    features = {m: {"deep": t(a[f"feat_{s}"])} for m, s in SHORT.items()}
    (stage,) = ADCA(settings).stages(epoch, lambda: features, lambda make: make())
    return stage


@parity.recorded("adca_cma")
def test_released_aggregation_and_iteration(arrays, monkeypatch):
    a = arrays
    stage = stage_of(a, monkeypatch, 50)
    assert stage.name == "aggregated" and stage.iterations == 200
    memories = stage.objectives["contrast"].memories["deep"]
    for m, s in SHORT.items():
        np.testing.assert_allclose(memories[m].rows, a[f"memory_{s}_cma"], atol=1e-5)
    features = {m: {"deep": t(a[f"batch_{s}"]).requires_grad_()} for m, s in SHORT.items()}
    gathered = {m: {"deep": f["deep"].detach()} for m, f in features.items()}
    labels = {m: a[f"batch_labels_{s}"] for m, s in SHORT.items()}
    terms = stage.objectives["contrast"](
        features, gathered, Batch(labels, labels, dict.fromkeys(SHORT, slice(None)))
    )
    sum(terms.values()).backward()
    for m, s in SHORT.items():
        np.testing.assert_allclose(terms[f"cluster_{m}_deep"].item(), a[f"loss_{s}"], atol=1e-5)
        np.testing.assert_allclose(
            features[m]["deep"].grad, a[f"grad_{s}"], atol=1e-5 * np.abs(a[f"grad_{s}"]).max()
        )
        np.testing.assert_allclose(memories[m].rows, a[f"memory_{s}_after"], atol=1e-5)


@parity.recorded("adca_cma")
def test_first_stage_and_switch_leave_the_memories_alone(arrays, monkeypatch):
    a = arrays
    for epoch, said in ((49, {}), (50, {"cma": False})):
        stage = stage_of(a, monkeypatch, epoch, **said)
        assert stage.name == "contrast"
        np.testing.assert_allclose(
            stage.objectives["contrast"].memories["deep"]["visible"].rows, a["memory_rgb_before"], atol=1e-5
        )


def test_second_stage_begins_anew():
    assert ADCA(resolve({"method": "adca"})[0]).restarts == (50,)
    assert ADCA(resolve({"method": "adca", "cma": False})[0]).restarts == ()
