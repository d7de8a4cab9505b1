"""Contrast with the mean and the hard rows of a hybrid memory (BMIL, AAAI 2026, arXiv 2512.07760).

B batch, C clusters, D dimensions.
"""

from __future__ import annotations

from torch import Tensor

from sdcl.losses.contrast import cluster_contrast


def hybrid_contrast(
    features: Tensor,
    labels: Tensor,
    mean: Tensor,
    hard: Tensor,
    temperature: float = 0.05,
    margin: float = 0.2,
    whole: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """1/2 [CE_hard + max(0, CE_mean - margin)], CE the cluster contrast with one kind of rows.

    The margin is taken from the mean over the batch, not from each sample: below it the mean rows give no
    gradient at all.

    Args:
        features: (B, D), any norm. labels: int64 (B,), rows of the memory. mean, hard: (C, D) unit rows.
        whole: features and labels of the batch of which these are an equal share: its mean is compared with
            the margin, so that the mean over the shares is the loss of the batch. None: these are the batch.
    """
    to_mean = cluster_contrast(features, labels, mean, temperature)
    to_hard = cluster_contrast(features, labels, hard, temperature)
    if whole is None:
        above = (to_mean - margin).clamp_min(0)
    else:
        above = (to_mean - margin) * (cluster_contrast(*whole, mean, temperature) > margin)
    return 0.5 * (to_hard + above)
