"""Prototypes of a cluster's parts (modalities: BMIL; cameras: DCCL), and identities described by them. N images, P prototypes, D dimensions."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sdcl.association.unification import association_embedding
from sdcl.memory import centroids
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


def identity_descriptions(features: Tensor, prototypes: Prototypes, temperature: float = 0.05) -> Tensor:
    """Images described by their resemblance to identities, as each camera sees them: unit rows, so that products are cosines.

    For each part a softmax over its prototypes of (unit(f) . P / temperature), side by side. Our reading of DCCL (IEEE TIFS 2024, DOI
    10.1109/TIFS.2023.3341392), whose equations are not at hand; it is GUR's association embedding with proxies for memories.

    Args:
        features: (N, D), any norm.

    Returns:
        float32 (N, P).
    """
    parts = torch.as_tensor(prototypes.parts, device=prototypes.rows.device)
    memories = [prototypes.rows[parts == part] for part in np.unique(prototypes.parts)]
    return F.normalize(association_embedding(features, memories, scale=1 / temperature))
