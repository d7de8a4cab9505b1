"""Identity descriptions against their formula."""

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from sdcl.association.identity import identity_descriptions


def test_equal_the_loop():
    generator = torch.Generator().manual_seed(0)
    features, prototypes = (
        torch.randn(9, 5, generator=generator),
        normalize(torch.randn(7, 5, generator=generator)),
    )
    cameras = np.array([3, 0, 0, 2, 3, 3, 0])
    found = identity_descriptions(features, prototypes, cameras, 0.1)
    for feature, row in zip(features, found):
        parts = [(prototypes[cameras == c] @ normalize(feature, dim=0) / 0.1).softmax(0) for c in (0, 2, 3)]
        torch.testing.assert_close(row, normalize(torch.cat(parts), dim=0))


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="cameras must be 3"):
        identity_descriptions(torch.randn(4, 3), torch.randn(3, 3), np.zeros(2, int))
