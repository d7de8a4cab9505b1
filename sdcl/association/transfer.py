"""Label transfer by thresholded similarity to the centroids of the other modality (HIL, arXiv 2509.11587).

N images, C clusters of the other modality, D dimensions.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sdcl.association.ranking import CHUNK
from sdcl.runtime.validation import as_features, as_labels


@torch.no_grad()
def transfer_labels(
    features: Tensor, labels: np.ndarray, centroids: Tensor, threshold: float = 0.5
) -> np.ndarray:
    """The cluster whose centroid is most similar to an image, if nearly as similar as that centroid's best image.

    Similarity is the cosine. An image takes its most similar centroid c if it reaches `threshold` times the largest similarity of c
    with any image, outliers included; else -1. Images that are outliers stay -1.

    Args:
        features: (N, D), any norm; HIL puts the raw deep and shallow features side by side.
        labels: int (N,), of which only -1 matters. centroids: (C, D), any norm.

    Returns:
        int64 (N,), 0 .. C - 1 or -1.

    Raises:
        ValueError: no image, no centroid, or not one label for each image.
    """
    features, rows = as_features("features", features), F.normalize(as_features("centroids", centroids))
    labels = as_labels("labels", labels, len(features))
    parts = [(F.normalize(part) @ rows.T) for part in features.split(CHUNK)]  # (c, C)
    top = torch.stack([part.amax(0) for part in parts]).amax(0)  # (C,)
    best, nearest = (torch.cat(column) for column in zip(*(part.max(1) for part in parts)))
    taken = (best >= threshold * top[nearest]) & torch.as_tensor(labels >= 0, device=rows.device)
    return torch.where(taken, nearest, -1).cpu().numpy()
