"""Choose the device and the precision that `--device` and `--precision` name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from sdcl.runtime.errors import SettingError

TF32_CAPABILITY = (8, 0)  # of CUDA devices: Ampere


def choose_device(name: str = "auto") -> torch.device:
    """Return the device of "auto" (the GPU if there is one), "cpu", "cuda" or "cuda:N".

    Convolutions on a GPU are set to exact float32: TF32 would round the products of models that run in
    float32.

    Raises:
        SettingError: another name, or a GPU that PyTorch does not see.
    """
    wanted = ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name
    if wanted.startswith("cuda") and not torch.cuda.is_available():
        raise SettingError(f"--device {name}: no GPU is visible to PyTorch; use --device cpu")
    try:
        device = torch.device(wanted)
    except RuntimeError:
        raise SettingError(f"--device must be auto, cpu, cuda or cuda:N, got {name!r}") from None
    if device.type == "cuda":
        torch.backends.cudnn.allow_tf32 = False
    return device


PRECISIONS = ("fp32", "tf32", "bf16", "auto")


def uses_bf16(precision: str, device: torch.device) -> bool:
    """Whether --precision means bf16 autocast: asked for, or "auto" on hardware that multiplies it
    natively.

    Raises:
        SettingError: an unknown precision.
    """
    if precision not in PRECISIONS:
        raise SettingError(f"--precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # torch has no public name for it yet
    return bool(getattr(torch.cpu, "_is_avx512_bf16_supported", bool)())


def require_precision(precision: str, device: torch.device) -> None:
    """Refuse "tf32" where it would change nothing.

    Raises:
        SettingError: "tf32" on a device that has no such arithmetic.
    """
    if precision != "tf32":
        return
    if device.type != "cuda" or torch.cuda.get_device_capability(device) < TF32_CAPABILITY:
        raise SettingError(
            f"--precision tf32 is arithmetic of NVIDIA GPUs from Ampere on, and this run is on {device}; use "
            "--precision fp32, which is what it would be here, or bf16"
        )


def upload(values: Any, device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """Numbers that the CPU has, as a tensor on a device, without waiting for a GPU.

    `torch.as_tensor(values, device=device)` copies from ordinary memory and waits for all that the GPU has
    still to do; from pinned memory the copy takes its turn like any operation.

    Args:
        values: an array, nested sequences of numbers, or a tensor on the CPU.
    """
    tensor = torch.as_tensor(values, dtype=dtype)
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


@contextmanager
def tf32_products(enabled: bool) -> Iterator[None]:
    """Let the GPU round the operands of float32 products and convolutions to TF32 (10 bits of mantissa).

    Args:
        enabled: False changes nothing.
    """
    if not enabled:
        yield
        return
    products, convolutions = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.allow_tf32 = True
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(products)
        torch.backends.cudnn.allow_tf32 = convolutions
