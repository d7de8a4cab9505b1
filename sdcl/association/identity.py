"""Identities as descriptions of images (DCCL). N images, P prototypes, D dimensions."""

from __future__ import annotations

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from sdcl.association.unification import association_embedding
from sdcl.runtime.devices import upload
from sdcl.runtime.validation import as_labels


def identity_descriptions(
    features: Tensor, prototypes: Tensor, cameras: np.ndarray, temperature: float = 0.05
) -> Tensor:
    """Images described by their resemblance to identities, as each camera sees them: unit rows, so that
    products are cosines.

    For each camera a softmax over its prototypes of (unit(f) . P / temperature), side by side. Our reading of
    DCCL (IEEE TIFS 2024, https://doi.org/10.1109/TIFS.2023.3341392), whose equations are not at hand; it is
    GUR's association embedding with the prototypes of the cameras for memories.

    Args:
        features: (N, D), any norm. prototypes: (P, D). cameras: int (P,), of each prototype; all 0 where
            there are no cameras.

    Returns:
        float32 (N, P), columns by camera.
    """
    cameras = as_labels("cameras", cameras, len(prototypes))
    memories = [
        prototypes[upload(np.flatnonzero(cameras == camera), prototypes.device)]
        for camera in np.unique(cameras)
    ]
    return F.normalize(association_embedding(features, memories, scale=1 / temperature))
