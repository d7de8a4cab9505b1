"""`--precision`: what it needs, and what it switches on for how long."""

import numpy as np
import pytest
import torch
from helpers.imitated_gpu import CUDA, ImitatedGPU

from sdcl.runtime.devices import require_precision, tf32_products, upload
from sdcl.runtime.errors import SettingError


def arithmetic():
    return torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32


def test_tf32_is_on_within_and_the_state_before_comes_back_after_an_error():
    before = arithmetic()
    with pytest.raises(ZeroDivisionError), tf32_products(True):
        assert arithmetic() == ("high", True)
        1 / 0  # noqa: B018
    assert arithmetic() == before
    with tf32_products(False):
        assert arithmetic() == before


@pytest.mark.parametrize(
    ("device", "capability", "precision", "refused"),
    [
        ("cpu", None, "tf32", True),
        ("cpu", None, "bf16", False),
        ("cuda:0", (7, 5), "tf32", True),
        ("cuda:0", (8, 0), "tf32", False),
        ("cuda:0", (7, 5), "fp32", False),
    ],
)
def test_tf32_is_refused_where_it_would_change_nothing(monkeypatch, device, capability, precision, refused):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    if not refused:
        require_precision(precision, torch.device(device))
        return
    with pytest.raises(SettingError, match=f"--precision tf32 .* on {device}; use --precision fp32"):
        require_precision(precision, torch.device(device))


@pytest.mark.parametrize(
    ("work", "kind"),
    [
        (lambda x: x.sum().item(), "item"),
        (lambda x: x.tolist(), "tolist"),
        (lambda x: x[x > 1], "boolean index"),
        (lambda x: x.nonzero(), "nonzero"),
        (lambda x: x.unique(), "unique"),
        (lambda x: x.cpu(), "copy to the CPU"),
        (lambda x: x[torch.tensor([1])], "copy from the CPU"),
        (lambda x: torch.as_tensor(np.arange(3), device=CUDA), "copy from the CPU"),
        (lambda x: x.new_tensor([1.0]), "copy from the CPU"),
    ],
)
def test_what_waits_for_the_imitated_gpu(work, kind):
    with ImitatedGPU() as gpu:
        x = upload([1.0, 2.0, 3.0], CUDA)
        x[upload(np.array([0]), x.device)] = 4.0  # none of this waits
        assert gpu.waits == [] and x.is_cuda
        work(x)
    assert [wait.kind for wait in gpu.waits][:1] == [kind]
