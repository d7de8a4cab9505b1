"""Signs that training goes wrong, seen without any identity: features that collapse, clusters that are cameras, too many outliers.

N images, D dimensions.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sdcl.analysis.label_quality import purity
from sdcl.clustering import PseudoLabels

SAMPLE = 2048  # images that the features' statistics are taken from, evenly spaced


@torch.no_grad()
def feature_health(features: Tensor) -> dict[str, float]:
    """Mean cosine of two different images, and the effective rank of the features.

    The effective rank is exp(entropy of the shares of variance along the principal axes) of the centred unit features: D at most, about 1
    when they lie on a line (Roy and Vetterli, EUSIPCO 2007, on the covariance).

    Args:
        features: (N, D), any norm.
    """
    step = max(1, len(features) // SAMPLE)
    units = F.normalize(features[::step].float())
    count = len(units)
    total = units.sum(0)
    similarity = (total @ total - count) / max(count * (count - 1), 1)
    variance = torch.linalg.svdvals(units - units.mean(0)).square()
    share = variance / variance.sum().clamp(min=1e-12)
    entropy = -(share * share.clamp(min=1e-12).log()).sum()
    return {"mean_similarity": float(similarity), "effective_rank": float(entropy.exp())}


def collapsed(modality: str, health: dict[str, float], *, max_similarity: float, min_rank: float) -> str:
    """A sentence when the features of a modality have collapsed, "" when not."""
    if health["mean_similarity"] <= max_similarity and health["effective_rank"] >= min_rank:
        return ""
    return (
        f"the {modality} features have collapsed: mean cosine of two images {health['mean_similarity']:.4f} (--max-similarity "
        f"{max_similarity}), effective rank {health['effective_rank']:.1f} (--min-rank {min_rank}). Try --momentum-first 0.9 (or 0.99), "
        "--calibrate-necks, a later --intra-from, or a lower --lr"
    )


def label_warnings(name: str, found: PseudoLabels, cameras: np.ndarray, *, max_outliers: float, max_camera_purity: float) -> list[str]:
    """Sentences about labels that are mostly outliers, or whose clusters are cameras.

    Args:
        name: of the labels, for the sentence. cameras: int (N,) of the same images.
        max_outliers: largest share of outliers. max_camera_purity: largest share of images whose camera is the commonest of their cluster;
            not looked at where one camera has most images anyway.
    """
    said = []
    share = found.outliers / max(len(found.ids), 1)
    if share > max_outliers:
        said.append(f"{share:.0%} of {name} are outliers (--max-outliers {max_outliers}): raise --eps, or lower --min-samples")
    kept = found.ids >= 0
    if kept.any():
        whole, inside = np.bincount(cameras[kept]).max() / kept.sum(), purity(found.ids[kept], cameras[kept])
        if inside > max_camera_purity >= whole:
            said.append(
                f"the clusters of {name} are cameras: {inside:.0%} of the images have the commonest camera of their cluster "
                f"(--max-camera-purity {max_camera_purity}; {whole:.0%} would by chance). Training tends to stay there: "
                "start from pre-trained weights instead of --pretrained none, or try --calibrate-necks and a larger --eps"
            )
    return said
