"""Contrast with several positive prototypes and the most similar negative ones (BMIL, DCCL).

B batch, P prototypes, D dimensions.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sdcl.losses.contrast import similarity


def selected_contrast(logits: Tensor, positive: Tensor, negatives: Tensor, most: int) -> Tensor:
    """-mean over a row's positives of log softmax, the softmax over all its positives and its largest
    negatives.

    Args:
        logits: (B, P). positive: bool (B, P), at least one in each row.
        negatives: int (B,) or (), how many negatives count; all where there are fewer. most: none of them is
            larger.

    Returns:
        (B,), one loss for each row.
    """
    others = logits.masked_fill(positive, -torch.inf).topk(min(most, logits.shape[1]), dim=1).values
    rank = torch.arange(others.shape[1], device=logits.device)
    others = others.masked_fill(rank >= negatives.reshape(-1, 1), -torch.inf)
    total = torch.cat((logits.masked_fill(~positive, -torch.inf), others), 1).logsumexp(1)
    return total - (logits * positive).sum(1) / positive.sum(1)


def multi_positive_contrast(
    features: Tensor,
    targets: Tensor,
    clusters: Tensor,
    bank: Tensor,
    temperature: float = 0.05,
    selected: int = 50,
    gradient_bank: Tensor | None = None,
) -> Tensor:
    """Split-and-contrast loss (BMIL, AAAI 2026, arXiv 2512.07760), mean over the batch.

    All prototypes of a sample's cluster are positives, those of either modality. They and the most similar
    other prototypes, of whatever modality, make the `selected` ones that the softmax runs over; where there
    are fewer prototypes it runs over all.

    Args:
        features: (B, D), any norm. targets: int64 (B,), prototype of each sample. clusters: int64 (P,),
            cluster of each prototype.
        bank: (P, D) unit rows. gradient_bank: see `sdcl.losses.contrast.similarity`.
    """
    logits = similarity(F.normalize(features.float()), bank, gradient_bank) / temperature
    positive = clusters[targets][:, None] == clusters  # (B, P)
    return selected_contrast(logits, positive, selected - positive.sum(1), selected).mean()


def camera_contrast(
    features: Tensor,
    clusters: Tensor,
    cameras: Tensor,
    proxies: Tensor,
    proxy_clusters: Tensor,
    temperature: float = 0.07,
    negatives: int = 50,
    sharing: Tensor | None = None,
) -> Tensor:
    """Contrast with the camera proxies of a cluster: mean over each camera's images, summed over the
    cameras of the batch.

    Our reading of DCCL (IEEE TIFS 2024, DOI 10.1109/TIFS.2023.3341392), whose equations are not at hand:
    every proxy of an image's cluster is a positive, the `negatives` most similar proxies of other clusters
    are negatives. Images without a positive are left out.

    Args:
        features: (B, D), any norm. clusters: int64 (B,), -1 for none. cameras: int64 (B,), 0 or more.
        proxies: (P, D) unit rows, one for each camera that saw a cluster. proxy_clusters: int64 (P,).
        sharing: (B,), how many images each image's mean is over, where this is only a part of a batch; None:
            the counted images of its camera here.
    """
    logits = similarity(F.normalize(features.float()), proxies) / temperature
    positive = clusters[:, None] == proxy_clusters
    counted = positive.any(1)
    most = torch.full((), negatives, device=logits.device)  # torch.tensor would wait for the GPU
    loss = selected_contrast(logits, positive | ~counted[:, None], most, negatives)
    if sharing is None:  # images of the same camera
        sharing = torch.bincount(cameras[counted], minlength=int(cameras.max()) + 1)[cameras]
    return (loss * counted / sharing.clamp_min(1)).sum()
