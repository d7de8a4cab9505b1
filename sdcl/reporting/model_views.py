"""Views of a trained model on its images: ranked galleries, attention, clusters of the training images.

N images, Q queries, G gallery images, D dimensions.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from sdcl.clustering import PseudoLabels
from sdcl.config import flat, from_saved
from sdcl.data.augment import normalize
from sdcl.data.image_cache import ImageCache, open_cache
from sdcl.datasets import MODALITIES, UNKNOWN, Dataset, Protocol, Sample, open_dataset
from sdcl.evaluation.metrics import average_precision
from sdcl.evaluation.protocols import Entries, entries_of
from sdcl.inference.extract import joined
from sdcl.inference.test_set import TestSet
from sdcl.inference.trained_model import TrainedModel
from sdcl.methods.build import build_method
from sdcl.methods.interface import Features, Indexes, Method
from sdcl.models.vit import DualBranchViT
from sdcl.reporting.attention import class_attention, overlay
from sdcl.reporting.grids import (
    CLUSTER_IMAGES,
    GALLERY_IMAGES,
    Cluster,
    RankedQuery,
    Ranking,
    Tile,
    best_median_worst,
    notable_clusters,
    share_of_most,
)
from sdcl.runtime.distributed import Processes
from sdcl.runtime.errors import DataError
from sdcl.runtime.files import printable

CHUNK = 512  # queries compared with the gallery at once
MOST_ATTENDED = 8  # images of a modality whose attention is drawn


@dataclass(frozen=True, eq=False)
class TestedModel:
    """A trained model with the features of its data set's test images.

    Args:
        features: modality -> unit rows (N, D) of the test images.
        identities, cameras: modality -> int (N,) of the test images.
    """

    __test__ = False  # not a pytest class

    trained: TrainedModel
    dataset: Dataset
    test_set: TestSet
    features: dict[str, np.ndarray]
    identities: dict[str, np.ndarray]
    cameras: dict[str, np.ndarray]

    def entries(self, protocol: Protocol, modality: str) -> Entries:
        """What a protocol compares of a modality."""
        features = torch.from_numpy(self.features[modality])
        return entries_of(protocol, modality, features, self.identities[modality], self.cameras[modality])


class AttentionMaps(NamedTuple):
    """One image and its attention maps: (caption, uint8 (H, W, 3)) each."""

    title: str
    images: list[tuple[str, np.ndarray]]


def open_model(run: Path, **moved: str) -> TrainedModel:
    """Open the model of a run.

    Args:
        moved: settings that no longer hold on this machine: data_dir, cache_dir, device. Empty: as in the
            run.

    Raises:
        UserError: no checkpoint that can be read, or a device that is not there.
    """
    trained = TrainedModel.open(run)
    changed = {name: value for name, value in moved.items() if value}
    trained = dataclasses.replace(trained, settings=from_saved(flat(trained.settings), **changed))
    return trained.to(trained.settings.run.device)


def open_images(trained: TrainedModel) -> Dataset:
    """Open the data set that a model was trained on. Raises DataError: it is not there."""
    d = trained.settings.data
    return open_dataset(
        d.dataset, trained.settings.data_dir, trial=d.trial, allow_incomplete=d.allow_incomplete
    )


def embed_test_images(trained: TrainedModel, dataset: Dataset) -> TestedModel:
    """Compute the features of all test images.

    Raises DataError: no test images, or some that cannot be read.
    """
    test_set = TestSet(dataset, trained.settings, Processes(0, 1, 0, trained.device))
    features = {
        m: joined(trained.features(images, m, title="test")).cpu().numpy()
        for m, images in test_set.caches.items()
    }
    identities = {m: np.array([s.identity for s in samples]) for m, samples in test_set.samples.items()}
    cameras = {m: np.array([s.camera for s in samples]) for m, samples in test_set.samples.items()}
    return TestedModel(trained, dataset, test_set, features, identities, cameras)


# ------------------------------------------------------------------ ranked galleries


def rankings(model: TestedModel) -> list[Ranking]:
    """Some queries of the first protocol of each query modality, in its first draw."""
    protocols: dict[str, Protocol] = {}
    for protocol in model.test_set.protocols:
        protocols.setdefault(protocol.query, protocol)
    return [Ranking(_capitalized(p.direction), p.note, ranked_queries(model, p)) for p in protocols.values()]


def ranked_queries(model: TestedModel, protocol: Protocol) -> list[RankedQuery]:
    """The queries with the best, the median and the worst average precision, each with the first images
    of its gallery.
    """
    draw = protocol.draws[0]
    parts = np.array_split(draw.query, max(1, len(draw.query) // CHUNK))
    precision = np.concatenate([average_precision(*compare(model, protocol, part)) for part in parts])  # (Q,)
    ranked = []
    for reason, index in best_median_worst(precision).items():
        query = draw.query[index]
        similarity, match, keep = (row[0] for row in compare(model, protocol, np.array([query])))  # (G,)
        order = np.argsort(-similarity, kind="stable")
        shown = {m: model.entries(protocol, m).shown for m in (protocol.query, protocol.gallery)}
        gallery = [
            _test_tile(
                model,
                protocol.gallery,
                shown[protocol.gallery][draw.gallery[i]],
                bool(match[i]),
                float(similarity[i]),
            )
            for i in order[keep[order]][:GALLERY_IMAGES]
        ]
        tile = _test_tile(model, protocol.query, shown[protocol.query][query])
        ranked.append(RankedQuery(reason, float(precision[index]), tile, gallery))
    return ranked


def compare(
    model: TestedModel, protocol: Protocol, queries: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compare test images, or tracks, with the gallery of a protocol's first draw.

    Args:
        queries: (Q,) rows of the query modality's test list, or numbers of its tracks.

    Returns:
        similarity, same identity, visible to the query by the protocol; (Q, G) each.
    """
    gallery = protocol.draws[0].gallery
    of_query, of_gallery = (model.entries(protocol, m) for m in (protocol.query, protocol.gallery))
    query_ids, query_cameras = (v[queries, None] for v in (of_query.identities, of_query.cameras))
    gallery_ids, gallery_cameras = (v[None, gallery] for v in (of_gallery.identities, of_gallery.cameras))
    query_rows, gallery_rows = of_query.features.numpy()[queries], of_gallery.features.numpy()[gallery]
    similarity = query_rows.astype(np.float64) @ gallery_rows.T.astype(np.float64)
    match = query_ids == gallery_ids
    if protocol.removed is None:
        return similarity, match, np.ones_like(match)
    removed = protocol.removed(query_ids, query_cameras, gallery_ids, gallery_cameras)
    return similarity, match, ~np.broadcast_to(removed, match.shape)


def _test_tile(
    model: TestedModel,
    modality: str,
    row: int,
    correct: bool | None = None,
    similarity: float | None = None,
) -> Tile:
    pixels = model.test_set.caches[modality].images[row]
    identity, camera = int(model.identities[modality][row]), int(model.cameras[modality][row])
    return Tile(pixels, identity, camera, correct, similarity)


def _capitalized(text: str) -> str:
    return text[:1].upper() + text[1:]


# ------------------------------------------------------------------ attention


def attention_views(model: TestedModel, attend: Sequence[str] = ()) -> list[AttentionMaps]:
    """Attention maps of some test images; none for a model without attention.

    Args:
        attend: ends of paths of test images; empty: two images of each modality.

    Raises:
        DataError: no test image has such a path.
    """
    network = model.trained.model
    if not isinstance(network, DualBranchViT):
        return []
    views = []
    for m, rows in choose_images(model.test_set.samples, attend).items():
        images = model.test_set.caches[m]
        if not len(rows):
            continue
        maps = class_attention(network, {m: normalize(images.take(rows), network.normalization)})[m]
        for index, row in enumerate(rows):
            pixels, sample = images.images[row], model.test_set.samples[m][row]
            title = (
                f"{m}, identity {sample.identity}, camera {sample.camera}, "
                f"{printable(Path(sample.path).name)}"
            )
            overlays = [(name, overlay(pixels, shares[index])) for name, shares in maps.items()]
            views.append(AttentionMaps(title, [("image", pixels), *overlays]))
    return views


def choose_images(samples: dict[str, list[Sample]], attend: Sequence[str]) -> dict[str, np.ndarray]:
    """modality -> indexes of the test images whose paths end with one of `attend`; empty: of two
    images in the middle of the list.
    """
    if not attend:
        return {m: np.array([len(s) // 4, 3 * len(s) // 4])[: len(s)] for m, s in samples.items()}
    for end in attend:
        if not any(s.path.endswith(end) for in_modality in samples.values() for s in in_modality):
            raise DataError(f"--attend {printable(end)}: no test image has a path that ends so; name one")
    return {
        m: np.array(
            [i for end in attend for i, s in enumerate(of) if s.path.endswith(end)][:MOST_ATTENDED], int
        )
        for m, of in samples.items()
    }


# ------------------------------------------------------------------ clusters of the training images


def cluster_views(trained: TrainedModel, dataset: Dataset) -> dict[str, list[Cluster]]:
    """modality -> notable clusters of the training images, by pseudo-labels that the method makes at the
    checkpoint's epoch.

    No memory is trained for it, so labels that a method derives from memories trained within an epoch are
    those of untrained ones.

    Raises:
        DataError: training images without an identity. NoClusters: clustering left nothing.
    """
    if any(s.identity == UNKNOWN for samples in dataset.train.values() for s in samples):
        raise DataError(
            "some training images have no identity, with which their clusters could be compared; "
            "list the identities in the table of images"
        )
    d = trained.settings.data
    caches = {
        m: open_cache(
            [s.path for s in samples],
            d.height,
            d.width,
            d.resize_extract,
            Path(d.cache_dir),
            trained.device,
            workers=d.workers,
            title=f"clustering {m}",
        )
        for m, samples in dataset.train.items()
    }
    cameras = {m: np.array([s.camera for s in samples]) for m, samples in dataset.train.items()}
    labels = relabel(trained, caches, build_method(trained.settings, dataset, cameras))
    return {
        m: describe_clusters(labels[m].ids, dataset.train[m], caches[m].images)
        for m in MODALITIES
        if m in labels
    }


def relabel(trained: TrainedModel, caches: dict[str, ImageCache], method: Method) -> dict[str, PseudoLabels]:
    """Make the pseudo-labels of the run's method for these images.

    Args:
        caches: modality -> images. method: built for the same images.

    Returns:
        name of the label set -> labels, up to the stage in which each modality has labels under its name.
    """
    features = {
        m: trained.features(caches[m], m, unit_views=method.unit_views, title="training") for m in MODALITIES
    }

    def extract(rows: Indexes | None = None, *, translated: bool = False) -> Features:
        # No label that is shown depends on translated views, so plain ones do.
        if rows is None:
            return features
        return {
            m: {branch: f[torch.as_tensor(r, device=f.device)] for branch, f in features[m].items()}
            for m, r in rows.items()
        }

    labels: dict[str, PseudoLabels] = {}
    for stage in method.stages(trained.epoch, extract, lambda make: make()):
        labels |= {label_set.name: label_set.labels for label_set in stage.label_sets}
        if set(MODALITIES) <= set(labels):
            break
    return labels


def describe_clusters(ids: np.ndarray, samples: Sequence[Sample], images: np.ndarray) -> list[Cluster]:
    """The notable clusters of one modality, each with some of its images, evenly spread over the list.

    Args:
        ids: (N,) pseudo-labels, -1: outlier. images: uint8 (N, H, W, 3).
    """
    identities, cameras = np.array([s.identity for s in samples]), np.array([s.camera for s in samples])
    clusters = []
    for reason, label in notable_clusters(ids, identities, cameras).items():
        members = np.flatnonzero(ids == label)
        values, counts = np.unique(identities[members], return_counts=True)
        majority = values[counts.argmax()]
        shown = members[
            np.linspace(0, len(members) - 1, min(CLUSTER_IMAGES, len(members))).round().astype(int)
        ]
        clusters.append(
            Cluster(
                reason,
                size=len(members),
                identities=len(values),
                purity=share_of_most(identities[members]),
                cameras=[int(c) for c in np.unique(cameras[members])],
                images=[
                    Tile(images[r], int(identities[r]), int(cameras[r]), bool(identities[r] == majority))
                    for r in shown
                ],
            )
        )
    return clusters
