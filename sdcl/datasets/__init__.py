"""IMAGES: which there are, by data set. A further downloaded data set is one file with a `LAYOUT`, and one entry in `LAYOUTS`."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sdcl.datasets import custom as own
from sdcl.datasets import llcm, regdb, sysu
from sdcl.datasets.prepare import RawLayout, Split, notices_of, read_any, samples_of
from sdcl.runtime.errors import DataError

LAYOUTS: dict[str, RawLayout] = {"sysu": sysu.LAYOUT, "regdb": regdb.LAYOUT, "llcm": llcm.LAYOUT}
# `python -m sdcl.datasets.llcm` runs a module that the line above has imported: harmless, it defines values only.
warnings.filterwarnings("ignore", r"'sdcl\.data\.llcm' found in sys\.modules", RuntimeWarning)


@dataclass(frozen=True)
class Source:
    """Where the images of a data set come from.

    Args:
        samples: (data folder, "train" or "test", trial, whether differences are allowed) -> what a run uses of it.
        read: (data folder, trial) -> both splits, and how they differ from what they should be.
        notices: (data folder, trial) -> sentences that every run must say. has_test: data folder -> whether a test is possible.
    """

    samples: Callable[[Path, str, int, bool], Split]
    read: Callable[[Path, int], tuple[dict[str, Split], list[str]]]
    notices: Callable[[Path, int], list[str]]
    has_test: Callable[[Path], bool]


def _downloaded(layout: RawLayout) -> Source:
    """A published data set, as downloaded or prepared; it has a test split always."""
    return Source(
        samples=lambda *how: samples_of(layout, *how),
        read=lambda *how: read_any(layout, *how),
        notices=lambda *how: notices_of(layout, *how),
        has_test=lambda data_dir: True,
    )


# One's own images are what they are: no trial, and no known numbers to differ from.
_OWN = Source(
    samples=lambda data_dir, split, trial, allowed: own.samples(data_dir, split),
    read=lambda data_dir, trial: (own.read(data_dir), []),
    notices=lambda data_dir, trial: own.notices(data_dir),
    has_test=own.has_test,
)
SOURCES: dict[str, Source] = {name: _downloaded(layout) for name, layout in LAYOUTS.items()} | {"own": _OWN}


def training_samples(dataset: str, data_dir: Path, trial: int = 1, allow_incomplete: bool = False) -> Split:
    """modality -> training samples, from the prepared or the raw layout. Raises ValueError as `samples_of`, or `own.samples`."""
    return _source(dataset).samples(Path(data_dir), "train", trial, allow_incomplete)


def test_samples(dataset: str, data_dir: Path, trial: int = 1, allow_incomplete: bool = False) -> Split:
    """modality -> all test samples. Raises ValueError as `training_samples`."""
    return _source(dataset).samples(Path(data_dir), "test", trial, allow_incomplete)


test_samples.__test__ = False  # not a pytest function


def has_test(dataset: str, data_dir: Path) -> bool:
    """Whether there are test samples; one's own data may have none. Raises ValueError as `training_samples`."""
    return _source(dataset).has_test(Path(data_dir))


def read(dataset: str, data_dir: Path, trial: int = 1) -> tuple[dict[str, Split], list[str]]:
    """Both splits as they are, and in what they differ from what they should be. Raises ValueError as `training_samples`."""
    return _source(dataset).read(Path(data_dir), trial)


def notices(dataset: str, data_dir: Path, trial: int = 1) -> list[str]:
    """Sentences that every run on these images must say: they are synthetic, incomplete and allowed to be, one's own."""
    return _source(dataset).notices(Path(data_dir), trial)


def _source(dataset: str) -> Source:
    if dataset not in SOURCES:
        raise DataError(f"-d {dataset} is no data set; there are {', '.join(SOURCES)}")
    return SOURCES[dataset]


@dataclass(frozen=True)
class Dataset:
    """Stand-in until the data set's own arrives."""

    name: str
    train: Split
    test: Split
    synthetic: bool
    complete: bool
    notices: tuple[str, ...]


def open_dataset(name: str, data_dir: Path | str, *, trial: int = 1, allow_incomplete: bool = False) -> Dataset:
    data_dir = Path(data_dir)
    train = training_samples(name, data_dir, trial, allow_incomplete)
    said = tuple(notices(name, data_dir, trial))
    synthetic = any(" is synthetic (" in n for n in said)
    complete = not any(" is incomplete, and --allow-incomplete" in n for n in said)
    test = test_samples(name, data_dir, trial, allow_incomplete) if has_test(name, data_dir) else {}
    return Dataset(name, train, test, synthetic, complete, said)
