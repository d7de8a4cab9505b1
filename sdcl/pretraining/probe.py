"""How good a starting weight is, on rendered people whom it was not trained on: their names are read here and nowhere else."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sdcl.data.augment import normalize
from sdcl.pretraining.crops import Crops, Drawing, rendered_people

PEOPLE, IMAGES = 40, 4
PAIRS = (("visible", "visible"), ("infrared", "infrared"), ("infrared", "visible"))


def probe_images(how: Drawing, first: int, cameras: int, jobs: int, device: torch.device) -> dict[str, Crops]:
    """modality -> PEOPLE people from number `first` on, IMAGES images each by random cameras."""
    people = range(first, first + PEOPLE)
    return {m: rendered_people(how, people, m, IMAGES, cameras, jobs, device) for m in ("visible", "infrared")}


@torch.no_grad()
def probe(backbone: nn.Module, images: dict[str, Crops]) -> dict[str, float]:
    """Rank-1 of cosine nearest neighbours, query -> gallery, the query itself left out."""
    training = backbone.training
    backbone.eval()
    found = {m: F.normalize(backbone(normalize(crops.store.take(range(len(crops)))))) for m, crops in images.items()}
    backbone.train(training)
    people = torch.from_numpy(images["visible"].person).to(found["visible"].device)
    return {f"{q}->{g}": rank1(found[q], found[g], people, same=q == g) for q, g in PAIRS}


def rank1(query: Tensor, gallery: Tensor, people: Tensor, same: bool) -> float:
    similarity = query @ gallery.T
    if same:
        similarity.fill_diagonal_(-2)
    return float((people[similarity.argmax(1)] == people).float().mean())
