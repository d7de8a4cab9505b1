"""Inverse-distance contrast with several centres per cluster (HIL, arXiv 2509.11587). B batch, C clusters, K centres each, D dimensions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

CLOSEST = 1e-6  # a feature that coincides with a centre would have an infinite loss


def centre_distances(features: Tensor, centres: Tensor) -> Tensor:
    """Euclidean distances (B, C, K) of unit(features), (B, D), to unit centres (C, K, D)."""
    cosine = F.normalize(features.float()) @ centres.detach().float().flatten(0, 1).T
    squared = (2 - 2 * cosine).clamp_min(CLOSEST**2)
    return squared.sqrt().view(len(features), *centres.shape[:2])


def nearest_cluster(features: Tensor, centres: Tensor) -> Tensor:
    """Cluster of the centre nearest to each feature, int64 (B,); see `centre_distances`."""
    return centre_distances(features.detach(), centres).amin(2).argmin(1)


def inverse_distance_contrast(features: Tensor, centres: Tensor, selected: Tensor) -> Tensor:
    """Mean over the selected samples of -log(pos / (pos + neg + 1e-8)); 0 if none is selected.

    pos is the mean of 1/d over the K centres of the nearest cluster (not of the pseudo-label's), neg the mean over the other clusters
    of 1/d to their nearest centre.

    Args:
        features: (B, D), any norm. centres: (C, K, D) unit rows, without gradient.
        selected: bool (B,), such as the samples whose nearest cluster is the same by deep and by shallow features.
    """
    distance = centre_distances(features, centres)
    closest = distance.amin(2)  # (B, C)
    nearest = closest.detach().argmin(1, keepdim=True)
    inside = torch.take_along_dim(distance, nearest[:, :, None], 1)[:, 0]  # (B, K)
    pos = (1 / inside).mean(1)
    others = closest.reciprocal().scatter(1, nearest, 0.0)
    neg = others.sum(1) / max(1, closest.shape[1] - 1)
    loss = -(pos / (pos + neg + 1e-8)).log()
    return (loss * selected).sum() / selected.sum().clamp_min(1)
