"""Data sets: which images there are, and by which protocols they are tested.

`open_dataset("sysu", "data/sysu")` reads everything once and gives a `Dataset`. `DATASETS` is the registry: a
further data set is one file and one entry here (docs/extending.md).
"""

from __future__ import annotations

from pathlib import Path

from sdcl.datasets import buptcampus, custom, llcm, regdb, sysu, vcm
from sdcl.datasets.base import Dataset, DataSource, Draw, Protocol, ProtocolOptions, RemovalRule
from sdcl.datasets.images import SUFFIXES, list_images
from sdcl.datasets.sample import MODALITIES, NO_TRACK, UNKNOWN, Sample, Split
from sdcl.runtime.errors import DataError

SOURCES = (sysu.SOURCE, regdb.SOURCE, llcm.SOURCE, vcm.SOURCE, buptcampus.SOURCE, custom.SOURCE)
DATASETS: dict[str, DataSource] = {source.name: source for source in SOURCES}


def open_dataset(
    name: str, data_dir: Path | str, *, trial: int = 1, allow_incomplete: bool = False
) -> Dataset:
    """Read a data set once, from its prepared or its downloaded layout.

    Args:
        name: of the registry, or an alias. data_dir: its folder; of custom images also their table.
        trial: split number; data sets without trials do not read it.
        allow_incomplete: accept images and lists that differ from the published ones.

    Raises:
        DataError: an unknown name, or data that are missing or inconsistent.
    """
    return source_of(name).open(Path(data_dir), trial, allow_incomplete)


def source_of(name: str) -> DataSource:
    """The registry entry of a name, or of an alias such as "own" in old checkpoints.

    Raises:
        DataError: no data set has this name.
    """
    if name in DATASETS:
        return DATASETS[name]
    for source in DATASETS.values():
        if name in source.aliases:
            return source
    raise DataError(f"-d {name} is no data set; there are {', '.join(DATASETS)}")


__all__ = [
    "DATASETS",
    "MODALITIES",
    "NO_TRACK",
    "SUFFIXES",
    "UNKNOWN",
    "DataSource",
    "Dataset",
    "Draw",
    "Protocol",
    "ProtocolOptions",
    "RemovalRule",
    "Sample",
    "Split",
    "list_images",
    "open_dataset",
    "source_of",
]
