"""IMAGES: which there are, by data set. A further data set is one file with a `LAYOUT`, and one entry here."""

from __future__ import annotations

import warnings
from pathlib import Path

from sdcl.data import llcm, regdb, sysu
from sdcl.data.prepare import RawLayout, Split, notices_of, samples_of

LAYOUTS: dict[str, RawLayout] = {"sysu": sysu.LAYOUT, "regdb": regdb.LAYOUT, "llcm": llcm.LAYOUT}
# `python -m sdcl.data.llcm` runs a module that the line above has imported: harmless, it defines values only.
warnings.filterwarnings("ignore", r"'sdcl\.data\.llcm' found in sys\.modules", RuntimeWarning)


def training_samples(dataset: str, data_dir: Path, trial: int = 1, allow_incomplete: bool = False) -> Split:
    """modality -> training samples, from the prepared or the raw layout. Raises ValueError as `samples_of`."""
    return samples_of(_layout(dataset), Path(data_dir), "train", trial, allow_incomplete)


def test_samples(dataset: str, data_dir: Path, trial: int = 1, allow_incomplete: bool = False) -> Split:
    """modality -> all test samples. Raises ValueError as `samples_of`."""
    return samples_of(_layout(dataset), Path(data_dir), "test", trial, allow_incomplete)


test_samples.__test__ = False  # not a pytest function


def notices(dataset: str, data_dir: Path, trial: int = 1) -> list[str]:
    """Sentences that every run on this folder must say: it is synthetic, or it is incomplete and was allowed to be."""
    return notices_of(_layout(dataset), Path(data_dir), trial)


def _layout(dataset: str) -> RawLayout:
    if dataset not in LAYOUTS:
        raise ValueError(f"-d {dataset} is no data set; there are {', '.join(LAYOUTS)}")
    return LAYOUTS[dataset]
