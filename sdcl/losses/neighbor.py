"""Collaborative neighbour learning (CNL) of SDCL: attract anchors to neighbours on which all branches agree.

Yang et al., CVPR 2024, see sdcl/methods/sdcl.py.

Legend: B anchors of the batch, N rows of an instance memory, D dimensions, c rows of a chunk.
"""

from __future__ import annotations

import math
from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor

FLOOR = math.log(1e-8)  # a probability below this gives no gradient
CELLS = 32_000_000  # similarities held at once: 128 MB in float32


@torch.no_grad()
def agreeing_neighbors(
    anchors: dict[str, Tensor], banks: dict[str, Tensor], threshold: float = 0.9
) -> Tensor:
    """Neighbours of each anchor in every description: similarity above
    `threshold` times the anchor's largest.

    Args:
        anchors: name of a description -> (B, D), of the images of the batch, without gradient. SDCL: the
            branches, rows of the memory; DCCL: "instance" and "identity", the batch's own features.
        banks: the same names -> (N, D), memory of the same or of the other modality.

    Returns:
        bool (B, N). An anchor whose largest similarity is negative has no neighbour.
    """
    masks = []
    for name, rows in anchors.items():
        scores = rows @ banks[name].T  # (B, N)
        masks.append(scores > threshold * scores.amax(1, keepdim=True))
    return reduce(torch.logical_and, masks)


class _NeighborContrast(torch.autograd.Function):
    """The loss and, in the same pass over the memory, its gradient: nothing (B, N) is kept for backward."""

    @staticmethod
    def forward(
        ctx, queries: Tensor, neighbors: Tensor, bank: Tensor, gradient_bank: Tensor, temperature: float
    ) -> Tensor:
        weight = 1 / (1 + neighbors.sum(1)) / len(queries)  # (B,)
        gradient = torch.empty_like(queries)
        total = queries.new_zeros(())
        for chunk in torch.arange(len(queries), device=queries.device).split(max(1, CELLS // len(bank))):
            log_p = F.log_softmax(queries[chunk] @ bank.T / temperature, dim=1)  # (c, N)
            active = neighbors[chunk] & (log_p >= FLOOR)
            total = total - (log_p.clamp(min=FLOOR) * neighbors[chunk]).sum(1) @ weight[chunk]
            # d loss / d logit, without the weight
            push = log_p.exp_() * active.sum(1, keepdim=True) - active.to(log_p.dtype)
            gradient[chunk] = weight[chunk, None] / temperature * (push @ gradient_bank)
        ctx.save_for_backward(gradient)
        return total

    @staticmethod
    def backward(ctx, upstream: Tensor):
        (gradient,) = ctx.saved_tensors
        return upstream * gradient, None, None, None, None


def neighbor_contrast(
    features: Tensor,
    neighbors: Tensor,
    bank: Tensor,
    temperature: float = 0.05,
    gradient_bank: Tensor | None = None,
) -> Tensor:
    """Mean over the batch of -sum_j m_ij log p_ij / (1 + sum_j m_ij), p a softmax over all N rows.

    Probabilities are at least 1e-8; below that they give no gradient.

    Args:
        features: (B, D), any norm. neighbors: bool (B, N), the mask m.
        bank: (N, D), instance memory. temperature: of the softmax.
        gradient_bank: rows of the backward pass, see `sdcl.losses.contrast.similarity`.
    """
    bank = bank.detach().float()
    gradient_bank = bank if gradient_bank is None else gradient_bank.detach().float()
    return _NeighborContrast.apply(F.normalize(features.float()), neighbors, bank, gradient_bank, temperature)
