"""Evaluation of features by the protocols of a data set, and the mean over several models.

    features, test samples, [Protocol] -> [Result], one for each row of the results table

Every image is embedded once; the draws of a protocol select rows. Sets of tracks compare tracks, which are
pooled first. `sdcl.datasets` defines the protocols.
Q queries, G gallery entries, N test images of a modality, T tracks, E entries (images, or tracks), D
dimensions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sdcl.datasets.base import Draw, Protocol
from sdcl.datasets.sample import Sample
from sdcl.evaluation.metrics import Metrics, Products, mean, rank_metrics
from sdcl.evaluation.rerank import Rerank
from sdcl.evaluation.rerank import rerank as reranked


@dataclass(frozen=True, eq=False)
class Entries:
    """What a protocol compares of one modality: its test images, or their tracks.

    Args:
        features: unit rows (E, D). identities, cameras: int (E,).
        shown: int64 (E,), the test image that stands for an entry: itself, or a track's middle one.
    """

    features: Tensor
    identities: np.ndarray
    cameras: np.ndarray
    shown: np.ndarray


def entries_of(
    protocol: Protocol, modality: str, features: Tensor, identities: np.ndarray, cameras: np.ndarray
) -> Entries:
    """The entries of a modality, whose rows the draws of a protocol select.

    Args:
        features: unit rows (N, D) of the modality's test images. identities, cameras: int (N,).
    """
    if protocol.tracks is None:
        return Entries(features, identities, cameras, np.arange(len(features)))
    tracks = protocol.tracks[modality]  # (N,)
    by_track = np.argsort(tracks, kind="stable")
    lengths = np.bincount(tracks)  # (T,)
    middle = by_track[np.cumsum(lengths) - 1 - lengths // 2]  # (T,)
    return Entries(mean_of_tracks(features, tracks), identities[middle], cameras[middle], middle)


def mean_of_tracks(features: Tensor, tracks: np.ndarray) -> Tensor:
    """Mean of the features (N, D) of each track's images, as unit rows (T, D).

    Args:
        tracks: int64 (N,), the track of each image, 0 .. T - 1, each at least once.
    """
    rows = torch.as_tensor(tracks, device=features.device)
    lengths = torch.bincount(rows)
    sums = features.new_zeros((len(lengths), features.shape[1]), dtype=torch.float64)
    sums.index_add_(0, rows, features.double())
    return F.normalize(sums / lengths[:, None]).to(features.dtype)


@dataclass(frozen=True, eq=False)
class Result:
    """One row of a results table.

    Args:
        protocol: data set, search mode, shots, and where the gallery draws come from.
        direction: "<query modality> to <gallery modality>".
        metrics: mean over `per_draw`.
        per_draw: one per draw (SYSU-MM01, LLCM) or per trial (RegDB); a single one for custom images.
        gallery_size: images, or tracks, in the gallery.
    """

    protocol: str
    direction: str
    metrics: Metrics
    per_draw: list[Metrics]
    gallery_size: int


def evaluate(
    features: Mapping[str, Tensor | np.ndarray],
    test: Mapping[str, Sequence[Sample]],
    protocols: Iterable[Protocol],
    rerank: Rerank | None = None,
    supervision: str = "",
) -> list[Result]:
    """Metrics of each protocol; those that are `extra` views for the report are left out.

    Args:
        features: modality -> unit rows (N, D) of all test images.
        test: modality -> the test samples in the same order.
        protocols: as `Dataset.protocols` gives.
        rerank: re-rank each gallery with these parameters before removed images are dropped, which the
            result's name says; None ranks by cosine similarity.
        supervision: what the names say of the training, such as "semi-supervised: visible identities".

    Raises:
        ValueError: features that do not fit the samples or are not unit rows.
        DataError: a gallery without any match.
    """
    rows = {m: _unit_rows(features[m], len(test[m]), m) for m in test}
    identities = {m: np.array([s.identity for s in test[m]]) for m in test}
    cameras = {m: np.array([s.camera for s in test[m]]) for m in test}

    def metrics_of(protocol: Protocol, entries: dict[str, Entries], draw: Draw) -> Metrics:
        queries, others = entries[protocol.query], entries[protocol.gallery]
        query, gallery = queries.features[draw.query], others.features[draw.gallery]  # (Q, D), (G, D)
        # float64 products: TF32 and autocast, which a training run may have switched on, would reorder near
        # neighbours
        return rank_metrics(
            -reranked(query, gallery, rerank)
            if rerank
            else Products(query.double(), gallery.double()),  # (Q, G)
            queries.identities[draw.query],
            others.identities[draw.gallery],
            queries.cameras[draw.query],
            others.cameras[draw.gallery],
            removed=protocol.removed,
            distinct_identities=protocol.distinct_identities,
        )

    results = []
    for protocol in protocols:
        if protocol.extra:
            continue
        entries = {m: entries_of(protocol, m, rows[m], identities[m], cameras[m]) for m in rows}
        per_draw = [metrics_of(protocol, entries, draw) for draw in protocol.draws]
        name = ", ".join(filter(None, (protocol.name, rerank.title if rerank else "", supervision)))
        results.append(
            Result(name, protocol.direction, mean(per_draw), per_draw, len(protocol.draws[-1].gallery))
        )
    return results


def mean_results(trials: Sequence[Sequence[Result]]) -> list[Result]:
    """Row-wise mean over separately trained models, e.g. RegDB's ten trials; `per_draw` keeps each trial's
    own mean.

    Raises:
        ValueError: no trials, or trials whose rows are not the same protocols and directions in the same
            order.
    """
    if not trials:
        raise ValueError("no trials to average")
    headings = [[(result.protocol, result.direction) for result in trial] for trial in trials]
    if any(heading != headings[0] for heading in headings):
        raise ValueError("trials hold different protocols or directions")
    means = []
    for rows in zip(*trials, strict=True):
        per_trial = [row.metrics for row in rows]
        size = round(float(np.mean([row.gallery_size for row in rows])))
        name = f"{rows[0].protocol}, mean of {len(rows)} trial{'s' if len(rows) > 1 else ''}"
        means.append(Result(name, rows[0].direction, mean(per_trial), per_trial, size))
    return means


def _unit_rows(features: Tensor | np.ndarray, count: int, modality: str) -> Tensor:
    rows = torch.as_tensor(features)
    if rows.ndim != 2 or len(rows) != count:
        raise ValueError(f"{count} {modality} samples need as many rows of features, got {tuple(rows.shape)}")
    if not ((rows.norm(dim=1) - 1).abs() < 1e-2).all():
        raise ValueError(f"{modality} features must be finite unit rows")
    return rows
