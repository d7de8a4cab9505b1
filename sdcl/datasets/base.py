"""Data set, evaluation protocol and registry entry: the values that stand for a data set everywhere else.

    DataSource.open(folder) -> Dataset: training images, test images, facts
    Dataset.protocols(options) -> [Protocol]: query, gallery, removal rule and draws of each row of a table

Q queries, G gallery images.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sdcl.datasets.sample import MODALITIES, UNKNOWN, Split, identities_of
from sdcl.runtime.errors import DataError
from sdcl.runtime.files import printable

MIN_TRAIN_IMAGES = 4  # of a modality: two clusters of two images

# ------------------------------------------------------------------ removal rules

# (query ids (Q, 1), query cameras (Q, 1), gallery ids (1, G), gallery cameras (1, G)) -> bool (Q, G), True is
# removed. Rules use operators only, so that NumPy arrays and tensors on any device can be given.
RemovalRule = Callable[[Any, Any, Any, Any], Any]


def same_room(query_ids: Any, query_cameras: Any, gallery_ids: Any, gallery_cameras: Any) -> Any:
    """SYSU-MM01: cameras 2 and 3 share a room, so camera-3 queries do not see camera 2."""
    return (query_cameras == 3) & (gallery_cameras == 2)


def same_room_reversed(query_ids: Any, query_cameras: Any, gallery_ids: Any, gallery_cameras: Any) -> Any:
    """`same_room` with visible queries: camera-2 queries do not see camera 3."""
    return same_room(gallery_ids, gallery_cameras, query_ids, query_cameras)


def same_identity_and_camera(
    query_ids: Any, query_cameras: Any, gallery_ids: Any, gallery_cameras: Any
) -> Any:
    """LLCM and single-modality re-identification (Market-1501): another camera must find the person."""
    return (query_ids == gallery_ids) & (query_cameras == gallery_cameras)


# ------------------------------------------------------------------ protocols


@dataclass(frozen=True)
class ProtocolOptions:
    """Options that some data sets' protocols read (`DataSource.reads` names which).

    Args:
        modes: search modes of SYSU-MM01, of "all" and "indoor".
        shots: gallery images per identity and camera of SYSU-MM01; 1 is single-shot, 10 the usual multi-shot.
        draws: random draws that are averaged; papers report 10.
        official_draws: draw by SYSU-MM01's rand_perm_cam.mat, as its MATLAB evaluator does, instead of the
            seeds of the Python evaluators. The two give slightly different numbers.
    """

    modes: tuple[str, ...] = ("all", "indoor")
    shots: tuple[int, ...] = (1,)
    draws: int = 10
    official_draws: bool = False

    def __post_init__(self) -> None:
        if self.draws < 1:
            raise ValueError(f"at least one gallery draw is needed, got {self.draws}")


@dataclass(frozen=True, eq=False)
class Draw:
    """Which images are compared: int64 indices of the test lists, `query` (Q,) and `gallery` (G,); of a
    protocol with `tracks`, numbers of tracks.
    """

    query: np.ndarray
    gallery: np.ndarray


@dataclass(frozen=True, eq=False)
class Protocol:
    """One row of a results table, averaged over its draws.

    Args:
        name: data set, search mode, shots, and where the draws come from.
        direction: the row's title, such as "infrared to visible".
        query, gallery: modality of each side.
        removed: which gallery images a query does not see; None: it sees all.
        distinct_identities: CMC over distinct identities (SYSU-MM01, LLCM) instead of images (RegDB).
        draws: one or more.
        tracks: modality -> int64 (N,), the track of each test image, numbered from 0: tracks are compared, by
            the mean of their images' features, made a unit vector again. None: images are compared.
        extra: a view for the report that the data set's protocol does not define; no metrics are computed of
            it.
        note: one sentence for the report: what is in the gallery and what is removed.
    """

    name: str
    direction: str
    query: str
    gallery: str
    removed: RemovalRule | None
    distinct_identities: bool
    draws: tuple[Draw, ...]
    tracks: Mapping[str, np.ndarray] | None = None
    extra: bool = False
    note: str = ""


def whole_galleries(name: str, test: Split, titles: dict[str, str]) -> list[Protocol]:
    """Protocols of all images of one modality against all of the other, in both directions.

    Nothing is drawn or removed; the CMC counts images.

    Args:
        titles: modality -> its name in the direction, such as "thermal".
    """
    images = {m: all_rows(test, m) for m in MODALITIES}
    return [
        Protocol(
            name,
            f"{titles[q]} to {titles[g]}",
            query=q,
            gallery=g,
            removed=None,
            distinct_identities=False,
            draws=(Draw(images[q], images[g]),),
            note="All test images.",
        )
        for q, g in (MODALITIES, MODALITIES[::-1])
    ]


def all_rows(test: Split, modality: str) -> np.ndarray:
    """Indices of all test images of a modality, int64 (N,)."""
    return np.arange(len(test[modality]))


def plural(count: int, word: str) -> str:
    """ "1 draw", "10 draws"; "2 identities"."""
    many = word[:-1] + "ies" if word.endswith("y") else word + "s"
    return f"{count} {word if count == 1 else many}"


# ------------------------------------------------------------------ data sets


@dataclass(frozen=True)
class Dataset:
    """The images of a data set, read once.

    Args:
        source: the registry entry that read it. data_dir: its folder or, of custom images, perhaps its table.
        train: modality -> training samples. test: modality -> test samples; empty if there is no labelled
            test image.
        trial: split number, None if the data set has one split only.
        synthetic: the images are rendered, as the folder's manifest says.
        differences: how images and split files differ from the published data set, a sentence each.
        accepted: these differences were accepted with --allow-incomplete when the folder was prepared.
        remarks: what else every run on these images prints, sentences for people only.
    """

    source: DataSource
    data_dir: Path
    train: Split
    test: Split
    trial: int | None = None
    synthetic: bool = False
    differences: tuple[str, ...] = ()
    accepted: bool = False
    remarks: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Name on the command line, such as "sysu"."""
        return self.source.name

    @property
    def title(self) -> str:
        """Name in print, such as "SYSU-MM01"."""
        return self.source.title

    @property
    def complete(self) -> bool:
        """Whether all images are there, as far as the data set's numbers are known."""
        return not self.differences

    @property
    def notices(self) -> tuple[str, ...]:
        """What every run on these images prints, for people only: no program reads a fact from it."""
        if self.complete:
            return self.remarks
        listed = "; ".join(self.differences)
        return (*self.remarks, f"{self.data_dir} is incomplete, which --allow-incomplete accepted: {listed}")

    def protocols(self, options: ProtocolOptions | None = None) -> list[Protocol]:
        """The rows of the results table, in its order.

        Raises:
            DataError: as `require_test`, or options that the data set cannot serve.
        """
        self.require_test()
        return self.source.protocols(self, options or ProtocolOptions())

    def identities(self, modality: str) -> np.ndarray:
        """Identities of the training images of one modality, numbered 0 .. K-1: int64 (N,).
        Those of the other are not read.

        Raises:
            DataError: an identity is unknown, or all images are of one person.
        """
        samples = self.train[modality]
        found = np.array([s.identity for s in samples])
        unknown = np.flatnonzero(found == UNKNOWN)
        if len(unknown):
            raise DataError(
                f"--labels {modality} where identities are unknown: {self.data_dir} names no identity of "
                f"{len(unknown)} of {len(samples)} {modality} training images, the first "
                f"{printable(samples[unknown[0]].path)}; fill in the column `identity` of the table of "
                "images, or train with --labels none"
            )
        names, numbers = np.unique(found, return_inverse=True)
        if len(names) < 2:
            raise DataError(
                f"--labels {modality}: all {len(samples)} {modality} training images of {self.data_dir} are "
                "of one identity, and a contrast needs two; add images, or train with --labels none"
            )
        return numbers.astype(np.int64)

    def require_train(self) -> None:
        """Raise DataError unless each modality can have two clusters of two images."""
        for m in MODALITIES:
            count = len(self.train.get(m, ()))
            if count < MIN_TRAIN_IMAGES:
                raise DataError(
                    f"{self.data_dir} has {count} {m} images to train on; at least {MIN_TRAIN_IMAGES} of "
                    "each modality are needed, and hundreds make sense. Add images, or check --data-dir and "
                    "the split"
                )

    def require_test(self) -> None:
        """Raise DataError unless a query of one modality can have a match in the other."""
        remedy = self.source.test_remedy
        if not any(self.test.values()):
            raise DataError(
                f"{self.data_dir} has no labelled test image; a test needs images of both modalities. "
                f"{remedy}"
            )
        for m in MODALITIES:
            if not self.test.get(m):
                raise DataError(
                    f"{self.data_dir} has no {m} test image; each modality is searched for in the other. "
                    f"{remedy}"
                )
        if not set.intersection(*(identities_of({m: self.test[m]}) for m in MODALITIES)):
            raise DataError(
                f"no identity in {self.data_dir} has test images of both modalities, so no query has a "
                f"match; check the identities"
            )


@dataclass(frozen=True, kw_only=True)
class DataSource(ABC):
    """A data set that the package can read: an entry of the registry.

    Args:
        name: on the command line. title: in print. aliases: further names on the command line and in old
            checkpoints.
        protocols: (data set, options) -> rows of its results table.
        trials: split numbers, if a model is trained for each of several splits.
        modes: what --modes may name, if the data set has several search modes.
        reads: names of the settings that only some data sets read ("trial", "trials", "modes", "shots",
            "draws", "official_draws").
        recipe_of: the data set whose recipes are used; "": it has recipes under its own name.
        test_remedy: how to add test images, if the user can.
        shared_identities: severity ("error" or "warning") of identities that are in both splits, for `sdcl
            doctor`; "" where each split counts its identities anew. shared_remedy: what to do about them.
        small_remedy: what to do about very few training images.
    """

    name: str
    title: str
    protocols: Callable[[Dataset, ProtocolOptions], list[Protocol]]
    aliases: tuple[str, ...] = ()
    trials: tuple[int, ...] = ()
    modes: tuple[str, ...] = ()
    reads: frozenset[str] = field(default_factory=frozenset)
    recipe_of: str = ""
    test_remedy: str = ""
    shared_identities: str = ""
    shared_remedy: str = ""
    small_remedy: str = ""

    @abstractmethod
    def open(self, data_dir: Path, trial: int = 1, allow_incomplete: bool = False) -> Dataset:
        """Read all lists and folders once.

        Args:
            trial: split number; read only if the data set has `trials`.
            allow_incomplete: accept images and lists that differ from the published ones.

        Raises:
            DataError: missing or inconsistent data.
        """

    def require_trial(self, trial: int) -> int | None:
        """The trial, None if the data set has none. Raises DataError for one that it does not have."""
        if not self.trials:
            return None
        if trial not in self.trials:
            raise DataError(f"--trial must be one of {self.trials[0]}..{self.trials[-1]}, got {trial}")
        return trial
