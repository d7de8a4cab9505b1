"""The instance memory against the released arrays."""

import numpy as np
import torch
from helpers import parity

from sdcl.memory import InstanceMemory


def t(array):
    return torch.from_numpy(np.asarray(array))


@parity.recorded("instance_memory")
def test_instance_memory(arrays):
    a = arrays
    memory = InstanceMemory(t(a["memory"]))
    memory.update(t(a["inputs"]), a["indexes"], float(a["momentum"]))
    np.testing.assert_allclose(memory.rows, a["memory_after"], atol=1e-6)


@parity.recorded("instance_memory")
def test_clean_instance_update_ignores_the_norm(arrays):
    a, momentum = arrays, float(arrays["momentum"])
    plain, scaled = InstanceMemory(t(a["memory"])), InstanceMemory(t(a["memory"]))
    plain.update(t(a["inputs"]), a["indexes"], momentum, raw=False)
    scaled.update(7 * t(a["inputs"]), a["indexes"], momentum, raw=False)
    np.testing.assert_allclose(plain.rows, scaled.rows, atol=1e-6)
    assert (plain.rows - t(a["memory_after"])).abs().max() > 0.01
