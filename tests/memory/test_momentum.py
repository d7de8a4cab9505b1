"""The momentum update in rounds against the sequential loop."""

import numpy as np
import pytest
import torch

from sdcl.memory.momentum import sequential_update


def t(array):
    return torch.from_numpy(np.asarray(array))


@pytest.mark.parametrize("seed", range(8))
def test_rounds_equal_the_loop(seed):
    generator = np.random.default_rng(seed)
    rows = generator.integers(0, generator.integers(1, 9), generator.integers(0, 50))
    bank = torch.nn.functional.normalize(t(generator.standard_normal((9, 5))))
    values, expected = t(generator.standard_normal((len(rows), 5))), bank.clone()
    for value, row in zip(values, rows):
        new = 0.3 * expected[row] + 0.7 * value
        expected[row] = new / new.norm()
    sequential_update(bank, values, rows, 0.3)
    np.testing.assert_allclose(bank, expected, atol=1e-12)
