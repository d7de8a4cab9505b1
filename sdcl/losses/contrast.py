"""ClusterNCE loss: cross-entropy of features against all prototypes of a cluster memory.

Dai et al., Cluster Contrast for Unsupervised Person Re-Identification, ACCV 2022,
https://arxiv.org/abs/2103.11568.

Legend: B images of a batch, K prototypes, D dimensions.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


class _Similarity(torch.autograd.Function):
    """queries @ bank.T, whose gradient may be computed with other values of the bank."""

    @staticmethod
    def forward(ctx, queries: Tensor, bank: Tensor, gradient_bank: Tensor) -> Tensor:
        ctx.save_for_backward(gradient_bank)
        return queries @ bank.T

    @staticmethod
    def backward(ctx, gradient: Tensor):
        (gradient_bank,) = ctx.saved_tensors
        return gradient @ gradient_bank, None, None


def similarity(queries: Tensor, bank: Tensor, gradient_bank: Tensor | None = None) -> Tensor:
    """Dot products of queries with a memory that gets no gradient.

    The released code updates its memories between the forward and the backward pass, so that its gradients
    use the updated rows.

    Args:
        queries: (B, D). bank: (K, D), rows of the forward pass.
        gradient_bank: (K, D), rows of the backward pass; None: those of the forward pass, the exact gradient.

    Returns:
        (B, K).
    """
    bank = bank.detach().to(queries.dtype)
    gradient_bank = bank if gradient_bank is None else gradient_bank.detach().to(queries.dtype)
    return _Similarity.apply(queries, bank, gradient_bank)


def cluster_contrast(
    features: Tensor,
    labels: Tensor,
    bank: Tensor,
    temperature: float = 0.05,
    gradient_bank: Tensor | None = None,
) -> Tensor:
    """Mean over the batch of -log softmax(unit(f) bank^T / temperature)[label].

    Args:
        features: (B, D), any norm. labels: int64 (B,), rows of the bank.
        bank: (K, D), prototypes. gradient_bank: see `similarity`.
    """
    logits = similarity(F.normalize(features.float()), bank, gradient_bank) / temperature
    return F.cross_entropy(logits, labels)
