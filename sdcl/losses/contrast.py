"""Cluster contrast (ClusterNCE): cross-entropy of a feature against all rows of a memory. B batch, K rows, D dimensions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


class _Similarity(torch.autograd.Function):
    """queries @ bank.T, whose gradient may be taken with the bank of another moment."""

    @staticmethod
    def forward(ctx, queries: Tensor, bank: Tensor, gradient_bank: Tensor) -> Tensor:
        ctx.save_for_backward(gradient_bank)
        return queries @ bank.T

    @staticmethod
    def backward(ctx, gradient: Tensor):
        (gradient_bank,) = ctx.saved_tensors
        return gradient @ gradient_bank, None, None


def similarity(queries: Tensor, bank: Tensor, gradient_bank: Tensor | None = None) -> Tensor:
    """Dot products (B, K) of queries (B, D) with a memory (K, D) that takes no gradient.

    The released code changes its memories between forward and backward, so its chain rule meets the newer rows.
    `gradient_bank` (K, D) says which rows the gradient uses; None is the clean form, the same rows as the forward.
    """
    bank = bank.detach().to(queries.dtype)
    return _Similarity.apply(queries, bank, bank if gradient_bank is None else gradient_bank.detach().to(queries.dtype))


def cluster_contrast(
    features: Tensor, labels: Tensor, bank: Tensor, temperature: float = 0.05, gradient_bank: Tensor | None = None
) -> Tensor:
    """Mean over the batch of -log softmax(unit(f) . bank^T / temperature)[label].

    Args:
        features: (B, D), any norm. labels: int64 (B,), rows of the bank. bank: (K, D) unit rows.
        gradient_bank: see `similarity`.
    """
    logits = similarity(F.normalize(features.float()), bank, gradient_bank) / temperature
    return F.cross_entropy(logits, labels)
