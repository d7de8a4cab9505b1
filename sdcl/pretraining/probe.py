"""Nearest-neighbour probe of pretrained weights on rendered identities that were not trained on."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sdcl.data.augment import normalize
from sdcl.models.vit import SingleStemViT
from sdcl.pretraining.crops import Crops, RenderSettings, rendered_identities

IDENTITIES, IMAGES = 40, 4
PAIRS = (("visible", "visible"), ("infrared", "infrared"), ("infrared", "visible"))  # query, gallery


def probe_images(
    rendering: RenderSettings, first: int, cameras: int, jobs: int, device: torch.device
) -> dict[str, Crops]:
    """Modality -> IMAGES images by random cameras of each of IDENTITIES identities, numbered from `first`."""
    identities = range(first, first + IDENTITIES)
    return {
        modality: rendered_identities(rendering, identities, modality, IMAGES, cameras, jobs, device)
        for modality in ("visible", "infrared")
    }


@torch.no_grad()
def probe(backbone: SingleStemViT, images: dict[str, Crops]) -> dict[str, float]:
    """Rank-1 (0..1) of cosine nearest neighbours for each "query->gallery"; a query never finds itself."""
    training = backbone.training
    backbone.eval()
    features = {}
    for modality, crops in images.items():
        pixels = normalize(crops.images.take(np.arange(len(crops))), backbone.normalization)
        features[modality] = F.normalize(backbone(pixels))
    backbone.train(training)
    identities = torch.from_numpy(images["visible"].identity).to(features["visible"].device)
    return {f"{q}->{g}": rank1(features[q], features[g], identities, q == g) for q, g in PAIRS}


def rank1(query: Tensor, gallery: Tensor, identities: Tensor, exclude_self: bool) -> float:
    """Share of query rows (N, D) whose most similar gallery row (N, D) has their identity, int (N,)."""
    similarity = query @ gallery.T
    if exclude_self:
        similarity.fill_diagonal_(-2)
    return float((identities[similarity.argmax(1)] == identities).float().mean())
