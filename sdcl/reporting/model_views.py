"""A run's model and images, rebuilt from its folder to look at; the plain values that the page is made of. N images, D dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from sdcl.clustering import PseudoLabels
from sdcl.config.settings import Settings, fields_by_name, from_flat
from sdcl.data.augment import normalize
from sdcl.data.image_cache import ImageStore, open_store
from sdcl.datasets import MODALITIES, UNKNOWN, Dataset, Protocol, ProtocolOptions, Sample, open_dataset
from sdcl.inference.extract import embed, joined
from sdcl.inference.test_set import TestSet
from sdcl.methods import METHODS
from sdcl.methods.interface import Features, Indexes
from sdcl.models.pretrained import model_of
from sdcl.models.vit import DualBranchViT
from sdcl.reporting.attention import class_attention, overlay
from sdcl.reporting.grids import (
    SHEET,
    SHOWN,
    Cluster,
    Ranked,
    Tile,
    average_precision,
    best_median_worst,
    notable_clusters,
    share_of_most,
)
from sdcl.runtime import checkpoint
from sdcl.runtime.distributed import Processes
from sdcl.runtime.errors import UserError

CHUNK = 512  # queries ranked at once


@dataclass
class Trained:
    """A model with the test images it was run on.

    Args:
        features: modality -> unit rows (N, D) of the test images. epoch: of the checkpoint. said: why it is not
            the last one written, if so.
    """

    settings: Settings
    model: nn.Module
    epoch: int
    dataset: Dataset
    test_set: TestSet
    said: str
    features: dict[str, np.ndarray]
    identities: dict[str, np.ndarray]
    cameras: dict[str, np.ndarray]


def settings_of(values: dict[str, Any], **instead: str) -> Settings:
    """Settings of a run's config.json; settings that this version does not know are left out. `instead`: places that moved.

    Raises:
        ValueError: a value that cannot be one.
    """
    known = fields_by_name()
    try:
        return from_flat({n: v for n, v in values.items() if n in known} | {n: v for n, v in instead.items() if v})
    except (TypeError, ValueError) as error:
        raise UserError(f"config.json holds a value that is no setting: {error}") from None


def load(run: Path, settings: Settings, dataset: Dataset | None = None) -> Trained:
    """Model of the last readable checkpoint, test images from the cache or decoded, features of all of them.

    Raises:
        ValueError: no checkpoint, no data, or a checkpoint that does not fit.
    """
    device = "cuda" if settings.run.device == "auto" and torch.cuda.is_available() else settings.run.device
    alone = Processes(0, 1, 0, torch.device("cpu" if device == "auto" else device))
    state, said = checkpoint.latest(run)
    if state is None:
        raise UserError(f"no checkpoint in {run}")
    model = model_of(settings)
    try:
        model.load_state_dict(state["model"])
    except RuntimeError as error:
        raise UserError(f"the checkpoint does not fit the model of config.json: {str(error).splitlines()[0]}") from None
    model.to(alone.device).eval()
    if dataset is None:
        d = settings.data
        dataset = open_dataset(d.dataset, settings.data_dir, trial=d.trial, allow_incomplete=d.allow_incomplete)
    test_set = TestSet(dataset, settings, alone)
    how = {"batch_size": settings.test.test_batch_size, "bf16": alone.bf16(settings.run.precision), "title": "test"}
    features = {m: joined(embed(model, store, m, **how)).float().cpu().numpy() for m, store in test_set.stores.items()}
    about = {m: np.array([(s.identity, s.camera) for s in rows]) for m, rows in test_set.samples.items()}
    people, cameras = ({m: a[:, column] for m, a in about.items()} for column in (0, 1))
    return Trained(settings, model, int(state["epoch"]), dataset, test_set, said, features, people, cameras)


def galleries(trained: Trained) -> list[Protocol]:
    """The first protocol or view of each query modality; of its draws the first is shown."""
    first: dict[str, Protocol] = {}
    for protocol in trained.dataset.protocols(ProtocolOptions(official_draws=trained.settings.test.official_draws)):
        first.setdefault(protocol.query, protocol)
    return list(first.values())


def ranked(trained: Trained, view: Protocol) -> list[Ranked]:
    """The best, the median and the worst query of a view, each with the head of its gallery."""
    queries = view.draws[0].query
    precision = np.concatenate(
        [average_precision(*_compared(trained, view, queries[first : first + CHUNK])) for first in range(0, len(queries), CHUNK)]
    )
    shown = []
    for why, index in best_median_worst(precision).items():
        row = int(queries[index])
        similarity, match, keep = (part[0] for part in _compared(trained, view, np.array([row])))
        order = [i for i in np.argsort(-similarity, kind="stable") if keep[i]][:SHOWN]
        tiles = [_test_tile(trained, view.gallery, int(view.draws[0].gallery[i]), bool(match[i]), float(similarity[i])) for i in order]
        shown.append(Ranked(why, float(precision[index]), _test_tile(trained, view.query, row), tiles))
    return shown


def _compared(trained: Trained, view: Protocol, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Similarity, match, keep, (Q, G) each, of the queries `rows`."""
    gallery = view.draws[0].gallery
    similarity = trained.features[view.query][rows] @ trained.features[view.gallery][gallery].T
    query_ids, query_cameras = (side[view.query][rows][:, None] for side in (trained.identities, trained.cameras))
    gallery_ids, gallery_cameras = (side[view.gallery][gallery][None] for side in (trained.identities, trained.cameras))
    match = query_ids == gallery_ids
    removed = np.zeros_like(match) if view.removed is None else view.removed(query_ids, query_cameras, gallery_ids, gallery_cameras)
    return similarity, match, ~np.broadcast_to(removed, match.shape)


def _test_tile(trained: Trained, modality: str, row: int, right: bool | None = None, score: float | None = None) -> Tile:
    image = trained.test_set.stores[modality].images[row]
    return Tile(image, int(trained.identities[modality][row]), int(trained.cameras[modality][row]), right, score)


def looks(trained: Trained, wanted: Sequence[str] = ()) -> list[tuple[str, list[tuple[str, np.ndarray]]]]:
    """(what the image is, [(way of looking, picture), ...]) of some test images; nothing for a model without attention.

    Args:
        wanted: ends of paths of test images; none: two queries of each modality.

    Raises:
        ValueError: a wanted image is not a test image.
    """
    if not isinstance(trained.model, DualBranchViT):
        return []
    found = []
    for m, rows in _wanted(trained.test_set.samples, wanted).items():
        store: ImageStore = trained.test_set.stores[m]
        if not len(rows):
            continue
        maps = class_attention(trained.model, {m: normalize(store.take(rows))})[m]
        for place, row in enumerate(rows):
            image, who = store.images[row], trained.test_set.samples[m][row]
            pictures = [("image", image)] + [(way, overlay(image, maps[way][place])) for way in maps]
            found.append((f"{m}, person {who.identity}, camera {who.camera}, {Path(who.path).name}", pictures))
    return found


def _wanted(samples: dict[str, list[Sample]], ends: Sequence[str]) -> dict[str, np.ndarray]:
    if not ends:
        return {m: np.array([len(rows) // 4, 3 * len(rows) // 4])[: len(rows)] for m, rows in samples.items()}
    found = {m: [i for end in ends for i, s in enumerate(rows) if s.path.endswith(end)][:8] for m, rows in samples.items()}
    for end in ends:
        if not any(s.path.endswith(end) for rows in samples.values() for s in rows):
            raise UserError(f"--attend {end}: no test image has a path with this end")
    return {m: np.array(rows, int) for m, rows in found.items()}


def cluster_sheets(trained: Trained) -> dict[str, list[Cluster]]:
    """modality -> clusters of the training images worth seeing, labelled anew by the method at the checkpoint's epoch.

    No memory is trained in between, so labels that a method makes after training within an epoch are those of untrained memories.

    Raises:
        ValueError: no training images, images without an identity, or no clusters.
    """
    own = trained.settings
    d = own.data
    samples = trained.dataset.train
    if any(s.identity == UNKNOWN for rows in samples.values() for s in rows):
        raise UserError("the training images have no identities, or not all of them, so right and wrong cannot be told apart")
    device = next(trained.model.parameters()).device
    place = (d.height, d.width, d.resize_extract, Path(d.cache_dir), device)
    stores = {m: open_store([s.path for s in rows], *place, workers=d.workers, title=f"clustering {m}") for m, rows in samples.items()}
    cameras = {m: np.array([s.camera for s in rows]) for m, rows in samples.items()}
    labels = relabel(trained, stores, cameras)
    return {m: _sheet(labels[m].ids, samples[m], cameras[m], stores[m]) for m in MODALITIES if m in labels}


def relabel(trained: Trained, stores: dict[str, ImageStore], cameras: Indexes) -> dict[str, PseudoLabels]:
    """The pseudo-labels that the run's method makes of these images, by name, until each modality has its own."""
    own = trained.settings
    if own.run.method not in METHODS:
        raise UserError(f"config.json names a method that this version does not have: {own.run.method}")
    method = METHODS[own.run.method](own, cameras)
    bf16 = Processes(0, 1, 0, next(trained.model.parameters()).device).bf16(own.run.precision)
    how = {"batch_size": own.test.test_batch_size, "bf16": bf16, "unit_views": method.unit_views, "title": "training"}
    all_features = {m: embed(trained.model, stores[m], m, **how) for m in MODALITIES}

    def extract(rows: Indexes | None = None) -> Features:
        wanted = rows or {m: np.arange(len(stores[m])) for m in MODALITIES}
        return {m: {b: f[torch.as_tensor(r, device=f.device)] for b, f in all_features[m].items()} for m, r in wanted.items()}

    found: dict[str, PseudoLabels] = {}
    for stage in method.stages(trained.epoch, extract, lambda make: make()):
        found |= {s.name: s.labels for s in stage.label_sets}
        if set(MODALITIES) <= set(found):
            break
    return found


def _sheet(ids: np.ndarray, samples: list[Sample], cameras: np.ndarray, store: ImageStore) -> list[Cluster]:
    people = np.array([s.identity for s in samples])
    sheets = []
    for why, number in notable_clusters(ids, people, cameras).items():
        members = np.flatnonzero(ids == number)
        values, counts = np.unique(people[members], return_counts=True)
        most = values[counts.argmax()]
        shown = members[np.linspace(0, len(members) - 1, min(SHEET, len(members))).round().astype(int)]
        tiles = [Tile(store.images[r], int(people[r]), int(cameras[r]), bool(people[r] == most)) for r in shown]
        seen = [int(c) for c in np.unique(cameras[members])]
        sheets.append(Cluster(why, len(members), len(values), share_of_most(people[members]), seen, tiles))
    return sheets
