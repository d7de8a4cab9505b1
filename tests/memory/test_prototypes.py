"""Prototypes of the parts of clusters, against BMIL's released ones and a loop."""

import numpy as np
import pytest
import torch
from helpers import parity

from sdcl.memory.prototypes import split_prototypes


@parity.recorded("bmil_epoch")
def test_released_prototypes_of_the_modalities(arrays):
    a = arrays
    for kind, visible in (("sysu", a["features_rgb"][a["subset1"]]), ("regdb", a["features_rgb"])):
        features = torch.from_numpy(np.concatenate((visible, a["features_ir"])))
        modality = np.repeat([0, 1], [len(visible), len(a["features_ir"])])
        found = split_prototypes(features, a[f"{kind}_labels_all"], modality)
        np.testing.assert_array_equal(found.clusters, a[f"{kind}_proxy_labels"])
        np.testing.assert_array_equal(found.of_images, a[f"{kind}_proxy_index"])
        np.testing.assert_allclose(found.rows, a[f"{kind}_proxy_memory"][: len(found.rows)], atol=1e-6)
        kept = found.of_images >= 0
        np.testing.assert_array_equal(found.parts[found.of_images[kept]], modality[kept])


def test_equal_the_loop():
    generator = np.random.default_rng(0)
    features = torch.from_numpy(generator.standard_normal((60, 5)).astype(np.float32))
    labels, cameras = generator.integers(-1, 4, 60), generator.choice([0, 2, 3], 60)
    proxies = split_prototypes(features, labels, cameras)
    assert len(proxies.rows) == len({(y, c) for y, c in zip(labels, cameras) if y >= 0})
    for row, cluster, camera in zip(proxies.rows, proxies.clusters, proxies.parts):
        mean = features[(labels == cluster) & (cameras == camera)].mean(0)
        torch.testing.assert_close(row, mean / mean.norm())


def test_bad_input_is_named():
    features = torch.randn(4, 3)
    with pytest.raises(ValueError, match="no image has a cluster"):
        split_prototypes(features, np.full(4, -1), np.zeros(4, int))
    with pytest.raises(ValueError, match="belongs to a part"):
        split_prototypes(features, np.zeros(4, int), np.array([0, 1, -1, 0]))
    with pytest.raises(ValueError, match="one for each image"):
        split_prototypes(features, np.zeros(4, int), np.zeros(3, int))
