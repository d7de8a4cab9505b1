"""Pseudo-labels with the run's settings. N images, D dimensions."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sdcl import clustering
from sdcl.clustering import PseudoLabels, pseudo_labels
from sdcl.clustering.neighbors_faiss import INVERTED, InvertedLists
from sdcl.config.groups import ClusterSettings
from sdcl.datasets import MODALITIES
from sdcl.methods.interface import Features, Indexes, Once, require_clusters, require_common_clusters


def search_of(settings: ClusterSettings) -> str:
    """Name of the neighbour search, with the settings of an approximate one."""
    if settings.knn == INVERTED:
        return str(InvertedLists(settings.knn_lists, settings.knn_probes))
    return settings.knn


def cluster(
    features: Tensor,
    settings: ClusterSettings,
    *,
    normalize: bool,
    eps: float | None = None,
    k1: int | None = None,
) -> PseudoLabels:
    """Jaccard distance and DBSCAN of (N, D) features; `eps` and `k1` replace the settings' values.

    With fewer than two clusters, where the released code ends in an error, eps is moved: up if most images
    are outliers, else down.
    """
    radius = first = settings.eps if eps is None else eps
    for _ in range(settings.eps_backoff + 1):
        labels = pseudo_labels(
            features,
            k1=settings.k1 if k1 is None else k1,
            k2=settings.k2,
            eps=radius,
            min_samples=settings.min_samples,
            backend=search_of(settings),
            normalize=normalize,
        )
        moved = radius + (settings.eps_step if 2 * labels.outliers > len(labels.ids) else -settings.eps_step)
        back_and_forth = (moved - radius) * (radius - first) < 0
        if labels.occupied >= 2 or not 0 < moved < 1 or back_and_forth:
            break
        radius = moved
    return labels


def label_each(
    cluster: Callable[[str], PseudoLabels], identities: Indexes | None = None
) -> dict[str, PseudoLabels]:
    """Labels of each modality: its true identities where the run may read them, else `cluster(modality)`.

    Args:
        identities: of --labels, modality -> int (N,), 0 .. K-1; no image is an outlier there. None: --labels
            none.
    """
    known = {m: PseudoLabels(ids, int(ids.max()) + 1) for m, ids in (identities or {}).items()}
    return {m: known[m] if m in known else cluster(m) for m in MODALITIES}


def cluster_each(
    features: Features,
    settings: ClusterSettings,
    once: Once,
    epoch: int,
    identities: Indexes | None = None,
) -> dict[str, PseudoLabels]:
    """Pseudo-labels of each modality from its deep features as they were extracted; see `label_each`.

    Raises:
        NoClusters: a modality has fewer than two clusters.
    """

    def from_features(modality: str) -> PseudoLabels:
        return cluster(features[modality]["deep"], settings, normalize=False)

    labels = once(lambda: label_each(from_features, identities))
    require_clusters(labels, settings.eps, epoch)
    return labels


def cluster_jointly(
    features: dict[str, Tensor], settings: ClusterSettings, once: Once, epoch: int, *, normalize: bool = False
) -> dict[str, PseudoLabels]:
    """Pseudo-labels of both modalities in one label space, under the modality-aware Jaccard distance (BMIL).

    eps is not moved here.

    Args:
        features: modality -> (N, D). normalize: bring them to unit length first.

    Raises:
        NoClusters: fewer than two clusters, or none with images of a modality.
    """
    rows = {m: F.normalize(f) if normalize else f for m, f in features.items()}
    common = once(
        lambda: clustering.joint_pseudo_labels(
            *(rows[m] for m in MODALITIES),
            k1=settings.k1,
            k2=settings.k2,
            eps=settings.eps,
            min_samples=settings.min_samples,
            backend=search_of(settings),
        )
    )
    parted = np.split(common.ids, [len(rows["visible"])])
    labels = {m: PseudoLabels(ids, common.num_clusters, common.eps) for m, ids in zip(MODALITIES, parted)}
    require_common_clusters(labels, settings.eps, epoch)
    return labels


def side_by_side(features: dict[str, Tensor]) -> Tensor:
    """branch -> (N, D), not normalised, as one matrix (N, branches x D)."""
    return torch.cat(list(features.values()), dim=1)


def scatter(labels: PseudoLabels, rows: np.ndarray, size: int) -> PseudoLabels:
    """Labels of the images `rows` (n,) as labels of all `size` images, the others being outliers."""
    ids = np.full(size, -1, np.int64)
    ids[rows] = labels.ids
    return dataclasses.replace(labels, ids=ids)
