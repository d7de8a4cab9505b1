"""BatchNorm slices: each normalised apart, only the first remembered, as two DataParallel replicas did."""

import copy

import numpy as np
import torch

from sdcl.data.augment import normalize
from sdcl.data.image_cache import ImageCache
from sdcl.inference.extract import calibrate_necks
from sdcl.models.factory import build_model
from sdcl.models.replicas import Replicas, frozen_running_stats


def batch():
    generator = torch.Generator().manual_seed(3)
    return {m: torch.randn(n, 3, 32, 16, generator=generator) for m, n in (("visible", 8), ("infrared", 4))}


def test_two_slices_equal_two_models():
    model = build_model("vit_mini", height=32, width=16, drop_path=0.0).train()
    images = batch()
    first, second = copy.deepcopy(model), copy.deepcopy(model)
    expected = [net({m: x.chunk(2)[i] for m, x in images.items()}) for i, net in enumerate((first, second))]
    out = Replicas(model, 2, 0)(images, seed=0)
    for m in images:
        for b in ("deep", "shallow"):
            assert torch.equal(out[m][b], torch.cat([e[m][b] for e in expected]))
    for (name, value), kept in zip(model.state_dict().items(), first.state_dict().values()):
        assert torch.equal(value, kept), name  # the statistics are those of the first slice


def test_frozen_statistics_come_back():
    model = build_model("resnet_mini", height=32, width=16).train()
    before = copy.deepcopy(model.state_dict())
    with frozen_running_stats(model):
        model(batch())
    assert all(torch.equal(v, before[n]) for n, v in model.state_dict().items())
    model(batch())
    assert not torch.equal(model.neck.running_mean, before["neck.running_mean"])


def test_stochastic_depth_depends_on_seed_and_slice_alone():
    images = batch()
    model = build_model("vit_mini", height=32, width=16, drop_path=0.5).train()
    one, again, other = (copy.deepcopy(model) for _ in range(3))
    a, b, c = (
        Replicas(one, 2, 0)(images, 5),
        Replicas(again, 2, 0)(images, 5),
        Replicas(other, 2, 0)(images, 6),
    )
    assert torch.equal(a["visible"]["deep"], b["visible"]["deep"]) and not torch.equal(
        a["visible"]["deep"], c["visible"]["deep"]
    )
    half = {m: x.chunk(2)[1] for m, x in images.items()}
    alone = Replicas(copy.deepcopy(model), 1, 1)(half, 5)
    assert torch.equal(alone["infrared"]["deep"], a["infrared"]["deep"].chunk(2)[1])


def test_calibrated_necks_standardise_the_features():
    """After calibration eval features of the mixed images have mean 0 and variance 1, and nothing but the
    necks' statistics changed.
    """
    model = build_model("vit_mini", height=32, width=16)
    before = copy.deepcopy(model.state_dict())
    pixels = np.random.default_rng(0).integers(0, 256, (300, 32, 16, 3)).astype(np.uint8)
    cpu = torch.device("cpu")
    stores = {"visible": ImageCache(pixels[:200], cpu), "infrared": ImageCache(pixels[200:] // 2, cpu)}
    calibrate_necks(model, stores, batch_size=100, bf16=False, seed=0)
    with torch.no_grad():
        features = model({m: normalize(s.take(np.arange(len(s)))) for m, s in stores.items()})
    for b in ("deep", "shallow"):
        joint = torch.cat([features[m][b] for m in stores])
        torch.testing.assert_close(joint.mean(0), torch.zeros(192), atol=0.05, rtol=0)
        torch.testing.assert_close(joint.var(0), torch.ones(192), atol=0.2, rtol=0)
    changed = {n for n, v in model.state_dict().items() if not torch.equal(v, before[n])}
    assert changed == {
        f"heads.{b}.neck.{n}"
        for b in ("deep", "shallow")
        for n in ("running_mean", "running_var", "num_batches_tracked")
    }
    assert all(head.neck.momentum == 0.1 and not head.neck.training for head in model.heads.values())
