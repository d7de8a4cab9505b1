"""Choose the device and the precision that `--device` and `--precision` name."""

from __future__ import annotations

import torch

from sdcl.runtime.errors import SettingError


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


def uses_bf16(precision: str, device: torch.device) -> bool:
    """Whether "auto", "fp32" or "bf16" means bf16 autocast: asked for, or "auto" on hardware that multiplies
    it natively.
    """
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # torch has no public name for it yet
    return bool(getattr(torch.cpu, "_is_avx512_bf16_supported", bool)())
