"""Contrast with several positives and selected negatives: released arrays, loops over the samples, and what a
step does.
"""

import numpy as np
import pytest
import torch
from helpers import parity
from torch.nn.functional import normalize

from sdcl.losses.selected import camera_contrast, multi_positive_contrast
from sdcl.memory.hybrid import HybridMemory

MOMENTUM = {"m01": 0.1, "m09": 0.9}
KINDS = ("hard", "mean")


def t(array):
    return torch.from_numpy(np.asarray(array))


def both_kinds(features, targets, clusters, banks, a, late=(None, None)):
    """The released loss of a modality: half of each kind of rows."""
    parts = {
        kind: multi_positive_contrast(
            features, t(targets), t(clusters), bank, float(a["temp"]), int(a["num_selected"]), gradient
        )
        for kind, bank, gradient in zip(("mean", "hard"), banks, late)
    }
    return 0.5 * (parts["hard"] + parts["mean"]), parts


def memory_of(a):
    mean, hard = t(a["memory"]).chunk(2)
    memory = HybridMemory(mean)
    memory.hard.copy_(hard)
    return memory


def same_gradient(found, expected):
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


@parity.recorded("bmil_contrast", keys=r"(m\d+)_memory_after")
def test_released_step_on_one_memory(arrays, key):
    """The visible term is differentiated and moves its rows first; the infrared gradient meets them moved."""
    a, (tag,) = arrays, key
    momentum = MOMENTUM[tag]
    memory, clusters = memory_of(a), a["proxy_labels"]
    features = {s: t(a[f"inputs_{s}"]).requires_grad_() for s in ("rgb", "ir")}
    before = memory()
    losses = {"rgb": both_kinds(features["rgb"], a["proxies_rgb"], clusters, before, a)}
    memory.update(features["rgb"].detach(), a["proxies_rgb"], momentum)
    losses["ir"] = both_kinds(features["ir"], a["proxies_ir"], clusters, before, a, memory())
    memory.update(features["ir"].detach(), a["proxies_ir"], momentum)
    total = 0.5 * (losses["ir"][0] + losses["rgb"][0])
    total.backward()
    np.testing.assert_allclose(total.item(), a[f"{tag}_loss2"], atol=1e-5)
    for s, (loss, parts) in losses.items():
        np.testing.assert_allclose(loss.item(), a[f"{tag}_loss_{s}"], atol=1e-5)
        for kind in KINDS:
            np.testing.assert_allclose(parts[kind].item(), a[f"{tag}_part_{kind}_{s}"], atol=1e-5)
        same_gradient(features[s].grad, a[f"{tag}_grad_{s}"])
    np.testing.assert_allclose(torch.cat(memory()), a[f"{tag}_memory_after"], atol=1e-6)


@parity.recorded("bmil_contrast", keys=r"(m\d+)_alone_(ir|rgb)_memory_after")
def test_released_term_alone_and_clean_gradient(arrays, key):
    a, (tag, short) = arrays, key
    momentum = MOMENTUM[tag]
    memory, features = memory_of(a), t(a[f"inputs_{short}"]).requires_grad_()
    loss, _ = both_kinds(features, a[f"proxies_{short}"], a["proxy_labels"], memory(), a)
    loss.backward()
    memory.update(features.detach(), a[f"proxies_{short}"], momentum)
    np.testing.assert_allclose(loss.item(), a[f"{tag}_alone_{short}_loss"], atol=1e-5)
    same_gradient(features.grad, a[f"{tag}_alone_{short}_grad"])
    np.testing.assert_allclose(torch.cat(memory()), a[f"{tag}_alone_{short}_memory_after"], atol=1e-6)
    if short == "ir":
        same_gradient(0.5 * features.grad, a[f"{tag}_gradclean_ir"])


@pytest.mark.parametrize("selected", [1, 4, 9, 50])
def test_multi_positive_equals_the_loop(selected):
    """Also with fewer prototypes than are selected, and fewer selected than positives."""
    generator = torch.Generator().manual_seed(selected)
    bank = normalize(torch.randn(12, 6, generator=generator))
    clusters = torch.tensor([0, 0, 1, 2, 2, 3, 3, 4, 5, 5, 6, 6])
    features, targets = (
        torch.randn(20, 6, generator=generator),
        torch.randint(0, 12, (20,), generator=generator),
    )
    total = 0.0
    for feature, target in zip(features.double(), targets):
        logits = normalize(feature, dim=0) @ bank.double().T / 0.1
        own = [p for p in range(12) if clusters[p] == clusters[target]]
        others = sorted((p for p in range(12) if p not in own), key=lambda p, z=logits: -float(z[p]))
        kept = own + others[: max(0, selected - len(own))]
        total -= sum(torch.log_softmax(logits[kept], 0)[: len(own)]) / len(own)
    found = multi_positive_contrast(features, targets, clusters, bank, 0.1, selected)
    np.testing.assert_allclose(found, total / 20, rtol=1e-5)


def test_camera_contrast_equals_the_loop():
    """Two cameras; an image without a cluster and one whose cluster has no proxy are left out of their
    camera's mean.
    """
    generator = torch.Generator().manual_seed(0)
    proxies, proxy_clusters = (
        normalize(torch.randn(9, 6, generator=generator)),
        torch.tensor([0, 0, 1, 2, 2, 3, 3, 3, 4]),
    )
    clusters, cameras = torch.tensor([0, 1, 2, 3, -1, 4, 7, 2]), torch.tensor([5, 5, 5, 2, 2, 2, 5, 2])
    features = torch.randn(8, 6, generator=generator).requires_grad_()
    expected = 0.0
    for camera in (2, 5):
        losses = []
        for i in range(8):
            own = [p for p in range(9) if proxy_clusters[p] == clusters[i]]
            if cameras[i] == camera and own:
                logits = normalize(features[i].detach().double(), dim=0) @ proxies.double().T / 0.07
                others = sorted((p for p in range(9) if p not in own), key=lambda p, z=logits: -float(z[p]))[
                    :3
                ]
                losses.append(-torch.log_softmax(logits[own + others], 0)[: len(own)].mean())
        expected += sum(losses) / len(losses)
    found = camera_contrast(features, clusters, cameras, proxies, proxy_clusters, negatives=3)
    np.testing.assert_allclose(found.item(), expected, rtol=1e-5)
    found.backward()
    assert (
        torch.isfinite(features.grad).all()
        and (features.grad[[4, 6]] == 0).all()
        and (features.grad[0] != 0).any()
    )


def test_camera_contrast_of_a_part_of_a_batch():
    """With the numbers of images in the whole batch, the parts add up to it."""
    generator = torch.Generator().manual_seed(2)
    proxies, proxy_clusters = normalize(torch.randn(6, 5, generator=generator)), torch.arange(6) // 2
    features, clusters = torch.randn(9, 5, generator=generator), torch.arange(9) % 3
    cameras = torch.tensor([1, 4, 1, 1, 4, 4, 4, 1, 1])
    whole = camera_contrast(features, clusters, cameras, proxies, proxy_clusters)
    sharing = torch.bincount(cameras)[cameras]
    parts = [
        camera_contrast(features[p], clusters[p], cameras[p], proxies, proxy_clusters, sharing=sharing[p])
        for p in (slice(0, 2), slice(2, 9))
    ]
    torch.testing.assert_close(sum(parts), whole)
    alone = camera_contrast(features[:2], clusters[:2], cameras[:2], proxies, proxy_clusters)
    assert not torch.isclose(alone, parts[0])


def test_losses_go_down():
    generator = torch.Generator().manual_seed(1)
    bank, clusters = normalize(torch.randn(10, 8, generator=generator)), torch.arange(10) // 2
    targets, cameras = torch.arange(10), torch.arange(10) % 2
    for loss in (
        lambda f: multi_positive_contrast(f, targets, clusters, bank),
        lambda f: camera_contrast(f, clusters[targets], cameras, bank, clusters),
    ):
        features = torch.randn(10, 8, generator=generator).requires_grad_()
        optimizer, values = torch.optim.SGD([features], 0.5), []
        for _ in range(30):
            optimizer.zero_grad()
            value = loss(features)
            value.backward()
            optimizer.step()
            values.append(value.item())
        assert values[-1] < 0.5 * values[0]
