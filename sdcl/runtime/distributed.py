"""Process group, collectives and data parallelism; the only importer of torch.distributed.

Every function also works with one process and no process group. b entries on each process, R ranks.
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

from sdcl.runtime import work_sharing
from sdcl.runtime.devices import choose_device, uses_bf16
from sdcl.runtime.work_sharing import Shard, Work, sharing_through

T = TypeVar("T")
TIMEOUT = timedelta(hours=2)  # decoding and clustering happen on one process while the others wait


@dataclass(frozen=True)
class Processes:
    """This process's rank among `count`, and its device."""

    rank: int
    count: int
    local_rank: int
    device: torch.device

    @property
    def main(self) -> bool:
        """Whether this process writes the log and the checkpoints."""
        return self.rank == 0

    def bf16(self, precision: str) -> bool:
        """Whether --precision means bf16 autocast on this device; see `uses_bf16`."""
        return uses_bf16(precision, self.device)


# ------------------------------------------------------------------ process group


def start(device: str) -> Processes:
    """Join the process group that torchrun or SLURM describes in the environment, if there is one.

    Args:
        device: of --device: auto, cpu, cuda or cuda:N. With "cuda" (and with "auto" on a machine with GPUs)
            each process takes the GPU of its local rank.

    Raises:
        SettingError: --device names hardware that is not there.
    """
    rank, count, local_rank = (
        _environment(name, default) for name, default in (("RANK", 0), ("WORLD_SIZE", 1), ("LOCAL_RANK", 0))
    )
    chosen = choose_device(device)
    if chosen.type == "cuda":
        if chosen.index is None:
            chosen = torch.device("cuda", local_rank)
        torch.cuda.set_device(chosen)
    if count > 1 and not dist.is_initialized():
        _join("nccl" if chosen.type == "cuda" else "gloo", rank, count)
    return Processes(rank, count, local_rank, chosen)


def _environment(name: str, default: int) -> int:
    return int(os.environ.get(name, default))


def _join(backend: str, rank: int, count: int) -> None:
    """Join the process group.

    torchrun keeps its store over a restart, and with it the addresses of processes that have ended. On one
    machine the keys of each attempt therefore have their own prefix. Several machines may count attempts
    differently; there torch's default is kept.
    """
    if _environment("LOCAL_WORLD_SIZE", 0) != count:
        dist.init_process_group(backend, timeout=TIMEOUT)
        return
    store, _, _ = next(dist.rendezvous("env://", timeout=TIMEOUT))
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    store = dist.PrefixStore(f"attempt {attempt}", store)
    dist.init_process_group(backend, store=store, rank=rank, world_size=count, timeout=TIMEOUT)


def stop() -> None:
    """Leave the process group, if there is one."""
    if dist.is_initialized():
        dist.destroy_process_group()


def _rank_and_count() -> tuple[int, int]:
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def single_process() -> bool:
    """Whether this is the only process."""
    return _rank_and_count()[1] == 1


def barrier() -> None:
    """Wait until every process is here."""
    if dist.is_initialized():
        dist.barrier()


def any_process(flag: bool) -> bool:
    """Whether the flag is set on any process. All processes must call it."""
    if single_process():
        return flag
    highest = torch.tensor(int(flag), device=_exchange_device())
    dist.all_reduce(highest, dist.ReduceOp.MAX)
    return bool(highest)


def equal_everywhere(value: Any) -> bool:
    """Whether all processes hold equal values, which must be picklable."""
    if single_process():
        return True
    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return all(other == value for other in values)


def assert_equal(tensors: list[Tensor], when: str) -> None:
    """Compare a hash of the tensors over the processes, bit for bit.

    Args:
        when: begins the message, such as "epoch 3, step 5".

    Raises:
        RuntimeError: processes hold different values.
    """
    if single_process():
        return
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    digests: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(digests, digest.hexdigest())
    if len(set(digests)) > 1:
        raise RuntimeError(f"{when}: the processes hold different weights or memories: {digests}")


# ------------------------------------------------------------------ values computed once


class _Outcome(NamedTuple):
    """How a computation ended on a rank."""

    value: Any
    error: Exception | None


def once(make: Callable[[], T]) -> T:
    """Compute a value on rank 0 and give it to every rank. What it raises there is raised on every rank.

    The other ranks, which wait for it, compute shards of the jobs that it shares; see
    `sdcl.runtime.work_sharing`.

    Args:
        make: returns a value that can be pickled.
    """
    rank, count = _rank_and_count()
    if count == 1:
        return make()
    if rank:
        outcome = _compute_shards_until_outcome()
    else:
        with sharing_through(_share):
            outcome = _attempt(make)  # an error goes to every rank, so that none waits for ever
        _broadcast_object(outcome)
    if outcome.error is not None:
        raise outcome.error
    return outcome.value


def _attempt(compute: Callable[[], Any]) -> _Outcome:
    try:
        return _Outcome(compute(), None)
    except Exception as error:
        return _Outcome(None, error)


class _Outline(NamedTuple):
    """What a rank must know of a tensor to receive it."""

    shape: torch.Size
    dtype: torch.dtype

    def allocate(self) -> Tensor:
        return torch.empty(self.shape, dtype=self.dtype, device=_exchange_device())


def _share(work: Work, *arguments: Any) -> list[Shard]:
    """On rank 0, while the others listen: compute one shard of the job on each rank. Returns all shards."""
    values = [a.contiguous() if isinstance(a, Tensor) else a for a in arguments]
    if any(isinstance(v, Tensor) and v.device.type != _exchange_device().type for v in values):
        return work_sharing.alone(work, *arguments)  # the backend cannot send such tensors
    _broadcast_object((work, [_Outline(v.shape, v.dtype) if isinstance(v, Tensor) else v for v in values]))
    return _compute_shards(work, values)


def _compute_shards_until_outcome() -> _Outcome:
    """On the other ranks: compute a shard of every job that rank 0 shares, until it has its value."""
    while not isinstance(message := _broadcast_object(), _Outcome):
        try:
            _compute_shards(*message)
        except RuntimeError:
            continue  # rank 0 raises it as well, and its outcome follows
    return message


def _compute_shards(work: Work, arguments: list[Any]) -> list[Shard]:
    """Compute this rank's shard of the job, and collect the shards of all ranks on rank 0.

    Memory is allocated before the ranks agree to exchange, so that none waits for one that has no room.

    Args:
        arguments: of the job; on the other ranks with an outline in the place of each tensor.

    Raises:
        RuntimeError: a rank failed; raised on every rank.
    """
    rank, count = _rank_and_count()
    arguments = _on_every_rank(lambda: [a.allocate() if isinstance(a, _Outline) else a for a in arguments])
    for argument in arguments:
        if isinstance(argument, Tensor):
            dist.broadcast(argument, src=0)
    shard = _on_every_rank(lambda: work(*arguments, shard=rank, shards=count))
    outlines: list[Any] = [None] * count
    dist.all_gather_object(outlines, [_Outline(tensor.shape, tensor.dtype) for tensor in shard])
    others = outlines[1:] if rank == 0 else []
    received = _on_every_rank(lambda: [tuple(o.allocate() for o in outline) for outline in others])
    for position, tensor in enumerate(shard):
        if rank:
            _exchange([(dist.isend, tensor.contiguous(), 0)])
        else:
            _exchange([(dist.irecv, other[position], source) for source, other in enumerate(received, 1)])
    return [shard, *received]


def _on_every_rank(compute: Callable[[], T]) -> T:
    """Compute something on each rank, and go on only if no rank failed.

    Raises:
        RuntimeError: some failed; raised on every rank.
    """
    value, error = _attempt(compute)
    errors: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(errors, error and f"{type(error).__name__}: {error}")
    if any(errors):
        raise RuntimeError("; ".join(f"process {r}: {e}" for r, e in enumerate(errors) if e))
    return value


def _exchange(transfers: list[tuple[Callable, Tensor, int]]) -> None:
    """Send or receive tensors, (isend or irecv, tensor, other rank); empty ones need no transfer."""
    operations = [dist.P2POp(*transfer) for transfer in transfers if transfer[1].numel()]
    for request in dist.batch_isend_irecv(operations) if operations else ():
        request.wait()


def _broadcast_object(message: Any = None) -> Any:
    """Rank 0's message, on every rank."""
    box = [message]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def _exchange_device() -> torch.device:
    """Device of the tensors that the backend can send."""
    if dist.get_backend() == "nccl":
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")


# ------------------------------------------------------------------ rows of tensors


def gather_rows(rows: Tensor) -> Tensor:
    """Concatenate the rows of all ranks in rank order: (b, ...) on each, b the same everywhere -> (b R, ...).

    No gradient.
    """
    _, count = _rank_and_count()
    if count == 1:
        return rows
    parts = [torch.empty_like(rows) for _ in range(count)]
    dist.all_gather(parts, rows.contiguous())
    return torch.cat(parts)


def share_of(count: int) -> slice:
    """This rank's share of `count` items: contiguous, in rank order; sizes differ by at most one."""
    rank, ranks = _rank_and_count()
    return slice(count * rank // ranks, count * (rank + 1) // ranks)


def largest_share(count: int) -> int:
    """Items in the largest `share_of(count)` of any rank."""
    return -(-count // _rank_and_count()[1])


def gather_shares(rows: Tensor, count: int) -> Tensor:
    """Concatenate what each rank computed for its `share_of(count)`: (share, ...) -> (count, ...)."""
    _, ranks = _rank_and_count()
    if ranks == 1:
        return rows
    sizes = [count * (r + 1) // ranks - count * r // ranks for r in range(ranks)]
    padded = rows.new_zeros(max(sizes), *rows.shape[1:])
    padded[: len(rows)] = rows
    parts = gather_rows(padded).split(max(sizes))
    return torch.cat([part[:size] for part, size in zip(parts, sizes)])


# ------------------------------------------------------------------ modules


def broadcast_buffers(module: nn.Module) -> None:
    """Copy rank 0's buffers (running statistics) to every rank."""
    if dist.is_initialized():
        for buffer in module.buffers():
            dist.broadcast(buffer, src=0)


def data_parallel(module: nn.Module, processes: Processes) -> nn.Module:
    """DistributedDataParallel over several processes: gradients are averaged, buffers are not."""
    if processes.count == 1:
        return module
    wrapper = nn.parallel.DistributedDataParallel
    device_ids = [processes.device.index] if processes.device.type == "cuda" else None
    renamed = "forward_sync_buffers" in inspect.signature(wrapper).parameters  # in newer versions of PyTorch
    keep_buffers: dict[str, Any] = {"forward_sync_buffers" if renamed else "broadcast_buffers": False}
    return wrapper(module, device_ids=device_ids, **keep_buffers)


def subgroup(groups: int) -> Any:
    """Split the ranks into `groups` of neighbours, and return the process group of this rank.

    Raises:
        ValueError: they cannot be split evenly.
    """
    rank, count = _rank_and_count()
    if count % groups:
        raise ValueError(f"{count} ranks cannot be split into {groups} groups of the same size")
    size = count // groups
    # every rank makes all groups
    made = [dist.new_group(list(range(r * size, (r + 1) * size))) for r in range(groups)]
    return made[rank // size]


def sum_over(tensor: Tensor, group: Any) -> Tensor:
    """Sum of the tensor over the ranks of a `subgroup`. The gradient is summed as well."""
    return differentiable_all_reduce(tensor, group=group)
