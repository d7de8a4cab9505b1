"""Collaborative neighbour learning (CNL, SDCL, CVPR 2024): trust a neighbour only where all branches agree.

B anchors of the batch, N rows of an instance memory, D dimensions.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from sdcl.losses.contrast import similarity

FLOOR = math.log(1e-8)  # a probability below this gives no gradient


@torch.no_grad()
def agreeing_neighbors(anchors: dict[str, Tensor], banks: dict[str, Tensor], threshold: float = 0.9) -> Tensor:
    """Which rows every branch calls a neighbour: similarity strictly above `threshold` times the row's largest.

    Args:
        anchors: branch -> (B, D) memory rows (not live features) of the batch's images.
        banks: branch -> (N, D) instance memory of the same or of the other modality.

    Returns:
        bool (B, N). A row whose largest similarity is negative has no neighbour.
    """
    agreed = None
    for branch, rows in anchors.items():
        scores = rows @ banks[branch].T  # (B, N)
        near = scores > threshold * scores.amax(1, keepdim=True)
        agreed = near if agreed is None else agreed & near
    return agreed


def neighbor_contrast(
    features: Tensor, neighbors: Tensor, bank: Tensor, temperature: float = 0.05, gradient_bank: Tensor | None = None
) -> Tensor:
    """Mean over the batch of -sum_j m_ij log p_ij / (1 + sum_j m_ij), p a softmax over all N rows, floored at 1e-8.

    Args:
        features: (B, D), any norm. neighbors: bool (B, N), the mask m. bank: (N, D) unit rows.
        gradient_bank: see `sdcl.losses.contrast.similarity`.
    """
    logits = similarity(F.normalize(features.float()), bank, gradient_bank) / temperature
    surprise = -F.log_softmax(logits, dim=1).clamp(min=FLOOR)  # (B, N)
    return ((surprise * neighbors).sum(1) / (1 + neighbors.sum(1))).mean()
