"""BatchNorm over the batches of several processes, on any device (PyTorch's SyncBatchNorm needs a GPU).

B images on this process, D channels.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sdcl.runtime import distributed


class SyncBatchNorm(nn.Module):
    """BatchNorm with the statistics of all processes of a group: (B, D, ...) -> (B, D, ...).

    Takes over parameters and buffers of the layer it replaces. Mean, then variance around it, are each summed
    over the group with their gradient: Ioffe and Szegedy, Batch Normalization, ICML 2015, on the batch of the
    group.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, layer: nn.modules.batchnorm._BatchNorm, group: Any):
        super().__init__()
        if layer.momentum is None:
            raise ValueError("a BatchNorm with cumulative statistics (momentum None) cannot be synchronised")
        self.weight, self.bias = layer.weight, layer.bias
        self.register_buffer("running_mean", layer.running_mean)
        self.register_buffer("running_var", layer.running_var)
        self.register_buffer("num_batches_tracked", layer.num_batches_tracked)
        self.eps, self.momentum, self.group, self.track_running_stats = layer.eps, layer.momentum, group, True

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return F.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps
            )
        shape = [1, -1] + [1] * (x.ndim - 2)
        axes = [0, *range(2, x.ndim)]
        wide = x.float()
        count = torch.full((1,), x.numel() / x.shape[1], device=x.device)
        sums = distributed.sum_over(torch.cat([wide.sum(axes), count]), self.group)  # (D + 1,)
        mean = sums[:-1] / sums[-1]  # (D,)
        centered = wide - mean.view(shape)
        squares = distributed.sum_over(centered.square().sum(axes), self.group)  # second pass: exact
        variance = squares / sums[-1]  # (D,)
        if self.track_running_stats:
            with torch.no_grad():
                n = sums[-1]
                self.running_mean.lerp_(mean, self.momentum)
                self.running_var.lerp_(variance * n / (n - 1), self.momentum)
                self.num_batches_tracked += 1
        normal = centered * torch.rsqrt(variance + self.eps).view(shape)
        return (normal * self.weight.view(shape) + self.bias.view(shape)).to(x.dtype)


def synchronise_batch_norm(module: nn.Module, replicas: int) -> None:
    """Replace every BatchNorm of the module, in place, by one that processes normalise together.

    Args:
        replicas: slices of the batch; the processes that share a slice form a group.

    Raises:
        ValueError: the number of processes is no multiple of `replicas`.
    """
    group = distributed.subgroup(replicas)
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.modules.batchnorm._BatchNorm):
                setattr(parent, name, SyncBatchNorm(child, group))
