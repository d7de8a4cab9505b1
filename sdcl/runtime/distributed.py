"""The only importer of torch.distributed: who we are, and what the processes tell one another.

Everything here works with one process and no process group.
"""

from __future__ import annotations

import hashlib
import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NamedTuple, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce as differentiable_all_reduce

from sdcl.runtime.errors import SettingError
from sdcl.runtime.work_sharing import Shard, Work, sharing_through

T = TypeVar("T")
TIMEOUT = timedelta(hours=2)  # decoding and clustering happen on one process while the others wait


@dataclass(frozen=True)
class Processes:
    """Which of how many processes this is, and its device."""

    rank: int
    count: int
    local_rank: int
    device: torch.device

    @property
    def main(self) -> bool:
        return self.rank == 0

    def bf16(self, precision: str) -> bool:
        """Whether --precision means bf16 autocast on this device: asked for, or "auto" on hardware that multiplies it natively."""
        if precision != "auto":
            return precision == "bf16"
        if self.device.type == "cuda":
            return torch.cuda.is_bf16_supported(including_emulation=False)
        return bool(getattr(torch.cpu, "_is_avx512_bf16_supported", bool)())  # torch has no public name for it yet


def start(device: str) -> Processes:
    """Join the process group that torchrun or SLURM describes in the environment; without one, be alone.

    Raises:
        ValueError: --device names hardware that is not there.
    """
    rank, count, local = (int(os.environ.get(name, default)) for name, default in (("RANK", 0), ("WORLD_SIZE", 1), ("LOCAL_RANK", 0)))
    chosen = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    if chosen.startswith("cuda") and not torch.cuda.is_available():
        raise SettingError(f"--device {device}: no GPU is visible to PyTorch; use --device cpu")
    try:
        where = torch.device(f"cuda:{local}" if chosen == "cuda" else chosen)
    except RuntimeError:
        raise SettingError(f"--device must be auto, cpu, cuda or cuda:N, got {device!r}") from None
    if where.type == "cuda":
        torch.cuda.set_device(where)
        torch.backends.cudnn.allow_tf32 = False  # float32 means float32, also in convolutions; bf16 is what is fast
    if count > 1 and not dist.is_initialized():
        _join("nccl" if where.type == "cuda" else "gloo", count)
    return Processes(rank, count, local, where)


def _join(backend: str, count: int) -> None:
    """Join the process group.

    torchrun keeps its store over a restart, and with it the addresses of processes that are gone. On one machine each attempt therefore uses
    keys of its own; on several machines attempts are not counted alike, and torch's own way is left as it is.
    """
    if int(os.environ.get("LOCAL_WORLD_SIZE", "0")) != count:
        dist.init_process_group(backend, timeout=TIMEOUT)
        return
    store, rank, count = next(dist.rendezvous("env://", timeout=TIMEOUT))
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    dist.init_process_group(backend, store=dist.PrefixStore(f"attempt {attempt}", store), rank=rank, world_size=count, timeout=TIMEOUT)


def stop() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def _world() -> tuple[int, int]:
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def barrier() -> None:
    if dist.is_initialized():
        dist.barrier()


def alone() -> bool:
    return _world()[1] == 1


def any_process(flag: bool) -> bool:
    """Whether the flag is set on any process; all must ask."""
    if alone():
        return flag
    box = torch.tensor(int(flag), device=_device())
    dist.all_reduce(box, dist.ReduceOp.MAX)
    return bool(box)


def assert_equal(tensors: list[Tensor], where: str) -> None:
    """Compare a hash of the tensors over the processes; bit for bit.

    Raises:
        ValueError: some process holds other values.
    """
    if alone():
        return
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    digests: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(digests, digest.hexdigest())
    if len(set(digests)) > 1:
        raise SettingError(f"{where}: the processes hold different weights or memories: {digests}")


class _Made(NamedTuple):
    """How `once` ended on process 0."""

    value: Any
    error: Exception | None


def once(make: Callable[[], T]) -> T:
    """Make a value on process 0 and give it to all; what it raises there is raised everywhere.

    The others, who wait for it, help wherever making it comes to `sdcl.runtime.work_sharing.with_idle_ranks`.
    """
    rank, count = _world()
    if count == 1:
        return make()
    if rank:
        made = _help()
    else:
        try:
            with sharing_through(_spread):
                made = _Made(make(), None)
        except Exception as error:  # handed to every process, so that none waits for ever
            made = _Made(None, error)
        _announced(made)
    if made.error is not None:
        raise made.error
    return made.value


def _spread(work: Work, rows: Tensor, *arguments: Any) -> list[Shard]:
    """On process 0, while the others listen: a part of the work for each process."""
    if rows.device.type != _device().type:  # such rows cannot be sent
        return [work(rows, *arguments, 0, 1)]
    _announced((work, rows.shape, rows.dtype, arguments))
    return _parts(work, rows, arguments)


def _help() -> _Made:
    """Do this process's parts of the work that process 0 spreads, until it has its value."""
    while not isinstance(told := _announced(), _Made):
        work, shape, dtype, arguments = told
        try:
            _parts(work, torch.empty(shape, dtype=dtype, device=_device()), arguments)
        except RuntimeError:
            continue  # process 0 raises it, too, and says how that ends
    return told


def _parts(work: Work, rows: Tensor, arguments: tuple) -> list[Shard]:
    rank, count = _world()
    dist.broadcast(rows, src=0)
    own, errors = (), [None] * count
    try:
        own = work(rows, *arguments, rank, count)
    except Exception as error:
        errors[rank] = f"{type(error).__name__}: {error}"
    dist.all_gather_object(errors, errors[rank])
    if any(errors):
        raise RuntimeError("; ".join(f"process {r}: {e}" for r, e in enumerate(errors) if e))
    return list(zip(*(gather_rows(tensor[None]) for tensor in own)))


def _announced(message: Any = None) -> Any:
    """Process 0's message, on every process."""
    box = [message]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def _device() -> torch.device:
    """Where tensors must lie that the processes exchange."""
    return torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else torch.device("cpu")


def gather_rows(rows: Tensor) -> Tensor:
    """(b, ...) of each process, equally many -> (b * processes, ...) in rank order. No gradient."""
    _, count = _world()
    if count == 1:
        return rows
    parts = [torch.empty_like(rows) for _ in range(count)]
    dist.all_gather(parts, rows.contiguous())
    return torch.cat(parts)


def share_of(count: int) -> slice:
    """The rows of a list of `count` that this process works on: contiguous, in rank order, sizes differ by at most one."""
    rank, processes = _world()
    return slice(count * rank // processes, count * (rank + 1) // processes)


def gather_shares(rows: Tensor, count: int) -> Tensor:
    """What each process computed for its `share_of(count)` -> all `count` rows in order."""
    _, processes = _world()
    if processes == 1:
        return rows
    sizes = [count * (r + 1) // processes - count * r // processes for r in range(processes)]
    padded = rows.new_zeros(max(sizes), *rows.shape[1:])
    padded[: len(rows)] = rows
    parts = gather_rows(padded).split(max(sizes))
    return torch.cat([part[:size] for part, size in zip(parts, sizes)])


def broadcast_buffers(module: nn.Module) -> None:
    """Give every process the buffers (running statistics) of process 0."""
    if dist.is_initialized():
        for buffer in module.buffers():
            dist.broadcast(buffer, src=0)


def data_parallel(module: nn.Module, processes: Processes) -> nn.Module:
    """DistributedDataParallel when there are several processes: gradients are averaged, buffers are left to each."""
    if processes.count == 1:
        return module
    ids = [processes.device.index] if processes.device.type == "cuda" else None
    kind = nn.parallel.DistributedDataParallel
    name = (
        "forward_sync_buffers" if "forward_sync_buffers" in inspect.signature(kind).parameters else "broadcast_buffers"
    )  # PyTorch renames it
    return kind(module, device_ids=ids, **{name: False})


class SyncBatchNorm(nn.Module):
    """BatchNorm over the batches of all processes of a group, on any device (PyTorch's own runs on GPUs only).

    Takes over the parameters and buffers of the layer it replaces.
    """

    def __init__(self, layer: nn.modules.batchnorm._BatchNorm, group: Any):
        super().__init__()
        self.weight, self.bias = layer.weight, layer.bias
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            self.register_buffer(name, getattr(layer, name))
        self.eps, self.momentum, self.group, self.track_running_stats = layer.eps, layer.momentum, group, True

    def forward(self, x: Tensor) -> Tensor:
        shape = [1, -1] + [1] * (x.ndim - 2)
        if not self.training:
            return nn.functional.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)
        axes = [0, *range(2, x.ndim)]
        wide = x.float()
        count = torch.full((1,), x.numel() / x.shape[1], device=x.device)
        sums = differentiable_all_reduce(torch.cat([wide.sum(axes), count]), group=self.group)
        mean = sums[:-1] / sums[-1]
        centered = wide - mean.view(shape)
        variance = differentiable_all_reduce(centered.square().sum(axes), group=self.group) / sums[-1]  # (D,), two passes: exact
        if self.track_running_stats:
            with torch.no_grad():
                n = sums[-1]
                self.running_mean.lerp_(mean, self.momentum)
                self.running_var.lerp_(variance * n / (n - 1), self.momentum)
                self.num_batches_tracked += 1
        normal = centered * torch.rsqrt(variance + self.eps).view(shape)
        return (normal * self.weight.view(shape) + self.bias.view(shape)).to(x.dtype)


def synchronise_batch_norm(module: nn.Module, replicas: int) -> nn.Module:
    """Let processes that share one of `replicas` slices of the batch normalise it together. In place.

    Raises:
        ValueError: the number of processes is no multiple of the replicas.
    """
    rank, count = _world()
    if count % replicas:
        raise SettingError(f"{count} processes cannot share --bn-replicas {replicas} evenly; use a divisor or a multiple of {count}")
    size = count // replicas
    groups = [dist.new_group(list(range(r * size, (r + 1) * size))) for r in range(replicas)]
    group = groups[rank // size]
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.modules.batchnorm._BatchNorm):
                setattr(parent, name, SyncBatchNorm(child, group))
    return module
