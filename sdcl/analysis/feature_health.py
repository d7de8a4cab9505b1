"""Signs of failing training that need no identity: collapsed features, clusters of cameras, many outliers.

N images, D dimensions.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sdcl.analysis.label_quality import purity
from sdcl.clustering import PseudoLabels

SAMPLE = 2048  # at least this many images, evenly spaced, make the statistics


@torch.no_grad()
def feature_health(features: Tensor) -> dict[str, float]:
    """Mean cosine similarity of two different images, and effective rank of the features.

    The effective rank is exp(entropy of the shares of variance along the principal axes) of the centred unit
    features: at most D, about 1 when they lie on a line. Source: Roy and Vetterli, The effective rank,
    EUSIPCO 2007, here of the covariance.

    Args:
        features: (N, D), of any norm.
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
    """A sentence if the features of a modality have collapsed, else "".

    Args:
        health: of `feature_health`. max_similarity, min_rank: limits of its two numbers.
    """
    if health["mean_similarity"] <= max_similarity and health["effective_rank"] >= min_rank:
        return ""
    return (
        f"the {modality} features have collapsed: mean cosine similarity of two images "
        f"{health['mean_similarity']:.4f} (--max-similarity {max_similarity}), effective rank "
        f"{health['effective_rank']:.1f} (--min-rank {min_rank}). Try --momentum-first 0.9 (or 0.99), "
        "--calibrate-necks, a lower --lr, or with --method sdcl a later --intra-from"
    )


def label_warnings(
    name: str, labels: PseudoLabels, cameras: np.ndarray, *, max_outliers: float, max_camera_purity: float
) -> list[str]:
    """Sentences about labels that are mostly outliers, or whose clusters are cameras.

    Args:
        name: of the label set. cameras: int (N,), of the same images.
        max_outliers: largest share of outliers.
        max_camera_purity: largest share of images whose camera is the most frequent one of their cluster. Not
            applied where one camera took that share of the images anyway.
    """
    warnings = []
    share = labels.outliers / max(len(labels.ids), 1)
    if share > max_outliers:
        warnings.append(
            f"{share:.0%} of {name} are outliers (--max-outliers {max_outliers}): raise --eps, or lower "
            "--min-samples"
        )
    kept = labels.ids >= 0
    if kept.any():
        by_chance = np.bincount(cameras[kept]).max() / kept.sum()
        camera_purity = purity(labels.ids[kept], cameras[kept])
        if camera_purity > max_camera_purity >= by_chance:
            warnings.append(
                f"the clusters of {name} are cameras: {camera_purity:.0%} of the images have the most "
                f"frequent camera of their cluster (--max-camera-purity {max_camera_purity}; {by_chance:.0%} "
                "would by chance). Training tends to stay there: start from pretrained weights instead of "
                "--pretrained none, or try --calibrate-necks and a larger --eps"
            )
    return warnings
