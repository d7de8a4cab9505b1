"""Prototypes of the parts of clusters: of the modalities (BMIL) or of the cameras (DCCL). N images, P prototypes, D dimensions."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from torch import Tensor

from sdcl.memory.cluster import centroids
from sdcl.runtime.validation import as_labels


class Prototypes(NamedTuple):
    """One for each part of each cluster, by cluster and then by part.

    Args:
        rows: (P, D) unit means. clusters: int64 (P,), ascending. parts: int64 (P,), such as the modality or the camera.
        of_images: int64 (N,), the prototype of each image, -1 for outliers.
    """

    rows: Tensor
    clusters: np.ndarray
    parts: np.ndarray
    of_images: np.ndarray


def split_prototypes(features: Tensor, labels: np.ndarray, parts: np.ndarray) -> Prototypes:
    """Unit mean of the raw features of each part of each cluster.

    With labels of a common clustering and parts 0 (visible) and 1 (infrared), BMIL's prototypes (AAAI 2026, arXiv 2512.07760); with
    cameras as parts, the camera proxies of DCCL.

    Args:
        features: (N, D), any norm. labels: int (N,) with -1. parts: int (N,), 0 or more.

    Raises:
        ValueError: no image has a label, or not every image has one label and one part.
    """
    labels, parts = as_labels("labels", labels, len(features)), as_labels("parts", parts, len(features))
    if len(parts) and parts.min() < 0:
        raise ValueError("every image belongs to a part: parts must be 0 or more")
    width = int(parts.max(initial=0)) + 1
    cells = np.where(labels < 0, -1, labels.astype(np.int64) * width + parts)
    occupied, prototype = np.unique(cells[cells >= 0], return_inverse=True)
    of_images = np.full(len(cells), -1)
    of_images[cells >= 0] = prototype
    return Prototypes(centroids(features, of_images), occupied // width, occupied % width, of_images)
