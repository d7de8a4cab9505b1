"""A run folder to walk through: epochs, clusters with their images, links, neighbours before and after.

Epochs come from `metrics.jsonl`, labels from the checkpoints, images from the data set where it may be
read. Neighbours are those among at most `MOST_COMPARED` training images of the other modality, evenly
spread over its list.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from sdcl.app.workspace import Stopped, Workspace
from sdcl.config import Settings
from sdcl.config.registry import method_class
from sdcl.datasets import MODALITIES, UNKNOWN, Dataset, Sample
from sdcl.inference.embeddings import Embeddings
from sdcl.inference.search import nearest
from sdcl.inference.trained_model import TrainedModel
from sdcl.models.pretrained import pretrained_model
from sdcl.reporting.model_views import open_images, open_model
from sdcl.reporting.run_labels import ClusterSummary, SavedLabels, cluster_summaries, labelled_epochs, links
from sdcl.reporting.run_record import as_mapping, read_run, stage_name
from sdcl.runtime.errors import DataError, UserError
from sdcl.runtime.files import printable
from sdcl.training.initial_model import end_of_stage, run_folder

MOST_COMPARED = 1000
SHOWN, CLUSTERS_LISTED, NEIGHBOURS = 12, 20, 10  # images of a cluster, clusters of a page, neighbours
BEFORE = "before training"


class RunWalk:
    """One run folder.

    Args:
        folder: the run. workspace: whose model lock, store and allowed folders are used.
        data_dir: where its images lie now; "": where they were.

    Raises:
        UserError: no run folder.
    """

    def __init__(self, folder: Path, workspace: Workspace, data_dir: str = ""):
        self.folder, self.workspace = workspace.folders.require(folder), workspace
        self.record = read_run(self.folder)
        self.epochs, self.notes = labelled_epochs(self.folder)
        self.dataset, self.model = self._images(data_dir)
        self._neighbours: dict[str, dict[str, Embeddings]] = {}  # of a model: modality -> its rows
        self._state = {"state": "none", "done": 0, "total": 0, "message": ""}
        self._note = ""  # why there are no neighbours before training

    def _images(self, data_dir: str) -> tuple[Dataset | None, TrainedModel | None]:
        """The data set and the model, None where they cannot be opened; the reason joins the notes."""
        try:
            model = open_model(self.folder, data_dir=data_dir, device="cpu").to(self.workspace.options.device)
        except UserError as error:
            self.notes.append(str(error))
            return None, None
        try:
            self.workspace.folders.require(model.settings.data_dir)
            return open_images(model), model
        except UserError as error:
            self.notes.append(f"no images: {error}, or name their folder with --data-dir")
            return None, model

    # ------------------------------------------------------------------ epochs

    def overview(self) -> dict[str, Any]:
        """Epochs, and which of them have labels on disk."""
        rows = [
            {"epoch": row["epoch"], "stage": stage_name(row), "loss": row.get("loss")}
            | {"labels": as_mapping(row.get("labels")), "test": row.get("test") or []}
            for row in self.record.rows
        ]
        labelled = [
            {
                "epoch": e.epoch,
                "file": e.file,
                "sets": [
                    {"name": n, "images": len(labels.ids), "clusters": int(labels.ids.max()) + 1}
                    for n, labels in e.sets.items()
                ],
                "links": len(links(e.sets)),
            }
            for e in self.epochs
        ]
        counts = {m: len(self.samples(m)) for m in MODALITIES}
        return {
            "name": self.record.name,
            "recipe": " on ".join(self.record.recipe),
            "notices": [*self.record.notices, *self.record.missing, *self.notes],
            "epochs": rows,
            "labelled": labelled,
            "images": counts if self.dataset else None,
        }

    # ------------------------------------------------------------------ clusters and links

    def clusters(self, epoch: int, name: str, page: int) -> dict[str, Any]:
        """Some clusters of a label set, the largest first."""
        labels = self._sets(epoch).get(name)
        if labels is None:
            raise DataError(f"epoch {epoch} has no labels {printable(name)!r}")
        ids, modality = labels.ids, labels.modality
        identities, cameras = self._facts(modality, len(ids))
        summaries = cluster_summaries(ids, identities, cameras)
        first = max(0, page) * CLUSTERS_LISTED
        shown = summaries[first : first + CLUSTERS_LISTED]
        pages = -(-len(summaries) // CLUSTERS_LISTED)
        return {
            "modality": modality,
            "outliers": labels.outliers,
            "pages": pages,
            "total": len(summaries),
            "images": identities is not None,
            "clusters": [self._cluster(c, identities) for c in shown],
        }

    def links(self, epoch: int, page: int) -> dict[str, Any]:
        """Some labels that both modalities carry, those of most visible images first."""
        sets = self._sets(epoch)
        identities = {}
        for labels in sets.values():
            of_modality = self._facts(labels.modality, len(labels.ids))[0]
            if of_modality is not None:
                identities[labels.modality] = of_modality
        found = links(sets, identities if len(identities) == 2 else None)
        first = max(0, page) * CLUSTERS_LISTED
        shown = [
            {"label": link.label, "right": link.right}
            | {
                m: {"size": len(rows), "rows": spread(rows, SHOWN // 2)}
                for m, rows in (("visible", link.visible), ("infrared", link.infrared))
            }
            for link in found[first : first + CLUSTERS_LISTED]
        ]
        pages = -(-len(found) // CLUSTERS_LISTED)
        return {"links": shown, "pages": pages, "total": len(found), "images": len(identities) == 2}

    def image(self, modality: str, row: int) -> Image.Image:
        """A training image. Raises DataError: there is none, or it may not be read."""
        samples = self.samples(modality)
        if not 0 <= row < len(samples):
            raise DataError(
                f"the run has no {printable(modality)} image {row}, or its images may not be read"
            )
        return self.workspace.read(Path(), samples[row].path)

    def samples(self, modality: str) -> Sequence[Sample]:
        """Training images of a modality; none without the data set."""
        return self.dataset.train.get(modality, []) if self.dataset else []

    def _sets(self, epoch: int) -> dict[str, SavedLabels]:
        for labelled in self.epochs:
            if labelled.epoch == epoch:
                return labelled.sets
        raise DataError(f"the labels of epoch {epoch} are not in the run folder")

    def _facts(self, modality: str, count: int) -> tuple[np.ndarray | None, np.ndarray | None]:
        """(identities, cameras) of the training images, None unless there are `count` of them."""
        samples = self.samples(modality)
        if len(samples) != count:
            return None, None
        return np.array([s.identity for s in samples]), np.array([s.camera for s in samples])

    def _cluster(self, cluster: ClusterSummary, identities: np.ndarray | None) -> dict[str, Any]:
        rows = spread(cluster.members, SHOWN)
        majority = None
        if identities is not None and cluster.purity is not None:
            values, counts = np.unique(identities[cluster.members], return_counts=True)
            majority = values[counts.argmax()]
        same = [
            None if majority is None or identities is None else bool(identities[r] == majority) for r in rows
        ]
        return {
            "label": cluster.label,
            "size": len(cluster.members),
            "cameras": cluster.cameras,
            "people": cluster.identities,
            "purity": cluster.purity,
            "rows": rows,
            "same": same,
        }

    # ------------------------------------------------------------------ neighbours

    def neighbours(self, modality: str, row: int) -> dict[str, Any]:
        """The nearest images of the other modality, before and after training.

        The first call starts to embed the images, and says how far that is.
        """
        if modality not in MODALITIES or not 0 <= row < len(self.samples(modality)):
            raise DataError(
                f"the run has no {printable(modality)} image {row}, or its images may not be read"
            )
        if self._state["state"] in ("none", "failed"):
            self._state = {"state": "embedding", "done": 0, "total": 0, "message": ""}
            self.workspace.later(self._prepare)
        if self._state["state"] != "ready":
            return dict(self._state)
        other = next(m for m in MODALITIES if m != modality)
        person = self.samples(modality)[row].identity
        lists = []
        for name, rows in self._neighbours.items():
            query = self._query(name, modality, row)
            gallery = rows[other]
            indexes, similarity = nearest(query, gallery.rows, NEIGHBOURS)
            places = compared(len(self.samples(other)))[indexes[0]]
            people = [self.samples(other)[p].identity for p in places]
            known = UNKNOWN not in (person, *people)
            same = [p == person if known else None for p in people]
            images = [
                {"row": int(p), "similarity": float(s), "same": right}
                for p, s, right in zip(places, similarity[0], same)
            ]
            lists.append({"name": name, "images": images})
        total = len(self.samples(other))
        counts = {"among": len(compared(total)), "total": total}
        return {"state": "ready", "modality": other, "lists": lists, "note": self._note} | counts

    def _models(self) -> dict[str, TrainedModel]:
        """Name -> model, before (where its weights can be opened) and after training."""
        assert self.model is not None
        after = {f"after epoch {self.model.epoch}": self.model}
        try:
            return {BEFORE: self._untrained(self.model.settings).to(self.model.device)} | after
        except UserError as error:
            self._note = f"none before training: {error}"
            return after

    def _untrained(self, settings: Settings) -> TrainedModel:
        """The weights that training started from."""
        method, stage = getattr(method_class(settings.run.method), "starts_from", ("", ""))
        if settings.model.from_run and method:
            self.workspace.folders.require(run_folder(settings))
            return end_of_stage(settings, method, stage, "")
        if settings.model.pretrained == "torchvision":
            raise DataError("the weights before training are torchvision's, which this page does not fetch")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.run.seed)  # as training does: random weights are the same ones
            return TrainedModel(pretrained_model(settings)[0], settings)

    def _prepare(self) -> None:
        try:
            self._opened = self._models()
            wanted = {m: compared(len(self.samples(m))) for m in MODALITIES}
            total = len(self._opened) * sum(len(rows) for rows in wanted.values())
            finished = 0
            for name, model in self._opened.items():
                self._neighbours[name] = {}
                for m, rows in wanted.items():
                    root, paths = self._below([self.samples(m)[r].path for r in rows])

                    def progress(done: int, _: int, finished: int = finished) -> None:
                        self._state |= {"done": finished + done, "total": total}

                    self._neighbours[name][m] = self.workspace.embedded(model, root, m, progress, paths)
                    finished += len(rows)
            self._state["state"] = "ready"
        except Stopped:  # the program ends
            pass
        except Exception as error:  # the page shows it; the thread must live on
            self._neighbours = {}
            message = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
            self._state = {"state": "failed", "done": 0, "total": 0, "message": message}

    def _below(self, files: Sequence[str]) -> tuple[Path, list[str]]:
        root = Path(os.path.commonpath([os.path.dirname(f) for f in files]))
        self.workspace.folders.require(root)
        paths = [os.path.relpath(f, root) for f in files]
        self.workspace.folders.require_images(root, paths)
        return root, paths

    def _query(self, name: str, modality: str, row: int) -> np.ndarray:
        """(1, D) of any training image."""
        model = self._opened[name]
        with self.workspace.lock:
            return model.embed([self.image(modality, row)], modality)


def compared(count: int) -> np.ndarray:
    """Rows of the training images among which neighbours are searched."""
    return np.linspace(0, count - 1, min(MOST_COMPARED, count)).round().astype(int)


def spread(rows: np.ndarray, count: int) -> list[int]:
    """At most `count` of the rows, evenly spread."""
    return [int(rows[i]) for i in np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int)]
