"""A GPU that is imitated by the CPU, and that writes down where a program waits for it.

    with ImitatedGPU() as gpu:
        train(settings, processes=Processes(0, 1, 0, CUDA))
    gpu.waits  # [Wait("item", ("trainer.mean_losses", "trainer.update", ...)), ...]

Tensors that a program moves to or makes on `CUDA` say that they lie there, so that it takes the branches it
takes on a GPU, and refuse what such tensors refuse: `numpy()`, and operations together with tensors of the
CPU. The arithmetic is the CPU's: values are real, speed says nothing. A tensor's device is a mark on its
storage; a function mode answers for devices and moves, a dispatch mode marks what operations give.

What waits is what torch.cuda.set_sync_debug_mode reports: reading a value, results whose size depends on
values, and copies from or to the memory of the CPU, except from pinned memory with non_blocking=True.

It cannot see: kernels and their rounding, autocast, streams, collectives, whatever C++ decides by the device,
and libraries that are given pointers.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple
from unittest import mock

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils import _foreach_utils
from torch.utils._python_dispatch import TorchDispatchMode

PACKAGE = Path(__file__).parents[2] / "sdcl"
CUDA, CPU = torch.device("cuda", 0), torch.device("cpu")
VALUES = {  # operations whose result, or the size of it, is a value that the CPU must read
    "_local_scalar_dense": "item",
    "nonzero": "nonzero",
    "masked_select": "masked_select",
    "bincount": "bincount",
    "_unique": "unique",
    "_unique2": "unique",
    "unique_dim": "unique",
    "unique_consecutive": "unique",
    "repeat_interleave": "repeat_interleave",
    "equal": "equal",
}
INDEXING = ("index", "index_put", "index_put_", "_unsafe_index", "_index_put_impl_")


class Wait(NamedTuple):
    """The program waited for the GPU: by what, and the functions of the package that were being called, the
    innermost first, such as "trainer.mean_losses".
    """

    kind: str
    calls: tuple[str, ...]


class ImitatedGPU:
    """Context in which `CUDA` is there.

    Args:
        memory: free bytes that it claims to have.
    """

    def __init__(self, memory: int = 2**40):
        self.memory = memory
        self.waits: list[Wait] = []
        self.making = False  # within an operation on it, which makes its own tensors there

    def __enter__(self) -> ImitatedGPU:
        self._stack = contextlib.ExitStack()
        for owner, name, value in (
            (torch.cuda, "_lazy_init", lambda: None),
            (torch.cuda, "is_available", lambda: True),
            (torch.cuda, "is_bf16_supported", lambda **_: True),
            (torch.cuda, "is_current_stream_capturing", lambda: False),
            (torch.cuda, "current_device", lambda: 0),
            (torch.cuda, "set_device", lambda _: None),
            (torch.cuda, "get_device_name", lambda _=None: "imitated"),
            (torch.cuda, "get_device_capability", lambda _=None: (9, 0)),
            (torch.cuda, "mem_get_info", lambda _=None: (self.memory, self.memory)),
            (torch.cuda, "synchronize", lambda _=None: self.wait("synchronize")),
            (torch.cuda, "manual_seed_all", lambda _: None),
            (torch.accelerator, "current_accelerator", lambda *_, **__: None),
            (torch.optim.Optimizer, "_group_tensors_by_device_and_dtype", staticmethod(_grouped)),
        ):
            self._stack.enter_context(mock.patch.object(owner, name, value))
        self._stack.enter_context(_Operations(self))
        self._stack.enter_context(_Functions(self))
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.close()

    def wait(self, kind: str) -> None:
        """Write down that the program waits here."""
        calls = []  # the innermost first
        frame: FrameType | None = sys._getframe(1)
        while frame is not None:
            path = Path(frame.f_code.co_filename)
            if path.is_relative_to(PACKAGE):
                calls.append(f"{path.stem}.{frame.f_code.co_name}")
            frame = frame.f_back
        self.waits.append(Wait(kind, tuple(calls)))


# ------------------------------------------------------------------ where a tensor lies


def on_gpu(value: Any) -> bool:
    """Whether this is a tensor of the imitated GPU."""
    return isinstance(value, Tensor) and getattr(_storage(value), "_imitated", False)


def _storage(tensor: Tensor) -> torch.UntypedStorage:
    dense = tensor.values() if tensor.layout == torch.sparse_csr else tensor
    return dense.untyped_storage()


def _tensors(values: Any) -> list[Tensor]:
    """All tensors in nested lists, tuples and dicts."""
    if isinstance(values, Tensor):
        return [values]
    if isinstance(values, dict):
        values = values.values()
    elif not isinstance(values, (list, tuple)):
        return []
    return [tensor for value in values for tensor in _tensors(value)]


def _device(tensor: Tensor) -> torch.device:
    return CUDA if on_gpu(tensor) else CPU


def _mark(result: Any) -> Any:
    for tensor in _tensors(result):
        _storage(tensor)._imitated = True
    return result


def _names_gpu(device: Any) -> bool:
    return device is not None and torch.device(device).type == "cuda"


def _grouped(tensorlists: Any, with_indices: bool = False) -> dict:
    """Optimisers group parameters in C++, which sees the CPU."""
    groups = _foreach_utils._group_tensors_by_device_and_dtype(tensorlists, with_indices)
    return {(group[0][0][0].device, dtype): group for (_, dtype), group in groups.items()}


class _Functions(TorchFunctionMode):
    """Answers for devices, moves and makes tensors."""

    def __init__(self, gpu: ImitatedGPU):
        super().__init__()
        self.gpu = gpu

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if getattr(func, "__name__", "") == "__get__":
            if func == Tensor.device.__get__:  # not `is`: each look-up makes another wrapper
                return _device(args[0])
            if func in (Tensor.is_cuda.__get__, Tensor.is_cpu.__get__):
                return on_gpu(args[0]) == (func == Tensor.is_cuda.__get__)
            return func(*args)
        if func in (Tensor.numpy, Tensor.__array__) and on_gpu(args[0]):
            raise TypeError("can't convert cuda:0 device type tensor to numpy; use Tensor.cpu() first")
        if func is Tensor.tolist and on_gpu(args[0]):
            self.gpu.wait("tolist")
        if func is Tensor.pin_memory:
            pinned = args[0].clone()
            pinned.untyped_storage()._pinned = True
            return pinned
        if func in (torch.tensor, torch.as_tensor):
            device = kwargs.pop("device", None)
            made = func(*args, **kwargs)
            return made if device is None else self.move(made, torch.device(device), False)
        if func is Tensor.new_tensor:
            device = kwargs.pop("device", _device(args[0]))
            made = torch.tensor(*args[1:], **{"dtype": args[0].dtype, **kwargs})
            return self.move(made, torch.device(device), False)
        if func is Tensor.cpu:
            return self.move(args[0], CPU, False)
        if func is Tensor.cuda:
            return self.move(args[0], CUDA, kwargs.get("non_blocking", False))
        if func is Tensor.to:
            return self.to(*args, **kwargs)
        if _names_gpu(kwargs.get("device")):
            return _mark(func(*args, **{**kwargs, "device": CPU}))
        if kwargs.get("device") is not None:  # made on the CPU, like anything that is there
            made = func(*args, **kwargs)
            for tensor in _tensors(made):
                _storage(tensor)._imitated = False
            return made
        before = self.gpu.making
        self.gpu.making = before or any(on_gpu(x) for x in _tensors((args, kwargs)))
        try:
            return func(*args, **kwargs)
        finally:
            self.gpu.making = before

    def to(self, tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """`Tensor.to` in all its forms."""
        rest = list(args)
        if rest and isinstance(rest[0], Tensor):
            kwargs["device"], kwargs["dtype"] = _device(rest[0]), rest[0].dtype
            del rest[0]
        elif rest and isinstance(rest[0], (str, int, torch.device)):
            kwargs["device"] = rest.pop(0)
        if rest and isinstance(rest[0], torch.dtype):
            kwargs["dtype"] = rest.pop(0)
        for name, value in zip(("non_blocking", "copy"), rest):
            kwargs[name] = value
        device, non_blocking = kwargs.pop("device", None), kwargs.pop("non_blocking", False)
        if device is not None:
            tensor = self.move(tensor, torch.device(device), non_blocking)
        return (
            tensor.to(**kwargs) if any(v is not None and v is not False for v in kwargs.values()) else tensor
        )

    def move(self, tensor: Tensor, device: torch.device, non_blocking: bool) -> Tensor:
        """The tensor on a device."""
        here, there = on_gpu(tensor), device.type == "cuda"
        if here == there:
            return tensor
        pinned = getattr(tensor.untyped_storage(), "_pinned", False)
        if here or not (pinned and non_blocking):
            self.gpu.wait("copy to the CPU" if here else "copy from the CPU")
        moved = tensor.clone()
        moved.untyped_storage()._imitated = there
        return moved


class _Operations(TorchDispatchMode):
    """Marks what operations on the GPU give, and writes down which of them wait."""

    def __init__(self, gpu: ImitatedGPU):
        super().__init__()
        self.gpu = gpu

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        tensors = _tensors((args, kwargs))
        there = [on_gpu(x) for x in tensors]
        name = func._schema.name.removeprefix("aten::")
        if not tensors and self.gpu.making:
            return _mark(func(*args, **kwargs))
        if not any(there):
            return func(*args, **kwargs)
        if name in ("copy_", "_copy_from"):
            target, source = args[:2]
            if on_gpu(target) != on_gpu(source):
                pinned = getattr(source.untyped_storage(), "_pinned", False)
                if not (pinned and args[2:] == (True,)):
                    self.gpu.wait("copy from the CPU" if on_gpu(target) else "copy to the CPU")
            return func(*args, **kwargs)
        if name in VALUES and not (name == "repeat_interleave" and kwargs.get("output_size") is not None):
            self.gpu.wait(VALUES[name])
        indexes = [x for x in args[1] if x is not None] if name in INDEXING else []
        for index in indexes:
            if index.dtype in (torch.bool, torch.uint8) and not self.fills(name, args):
                self.gpu.wait("boolean index")
            elif not on_gpu(index):
                self.gpu.wait("copy from the CPU")
        for tensor, marked in zip(tensors, there):
            if not marked and tensor.ndim and not any(tensor is index for index in indexes):
                raise RuntimeError(f"{func}: expected all tensors to be on the same device, cuda:0 and cpu")
        result = func(*args, **kwargs)
        return result if name == "_local_scalar_dense" else _mark(result)

    @staticmethod
    def fills(name: str, args: tuple) -> bool:
        """Whether an assignment at a boolean index fills with one value, for which no size is needed."""
        return name.startswith("index_put") and len(args[1]) == 1 and args[2].ndim == 0
