"""Arrays of the released ADCA, GUR and SDCL code, which parity tests compare with.

They lie in the folder that the environment variable SDCL_PARITY_DIR names, by default tests/fixtures, as
NAME_x.npz (and NAME_x.json), where x tells several sets of the same arrays apart. A parity test runs on every
set of its name and holds no size of an array: sets of other sizes pass through it unchanged.

    @parity.recorded("centroids")
    def test_centroids(arrays): ...                        # arrays["features"], once for each set

    @parity.recorded("jaccard1", "jaccard2", keys=r"dist_k1_(\d+)_k2_(\d+)")
    def test_distances(arrays, key): ...                # key: ("30", "6"), once for each such array
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

FOLDER = Path(os.environ.get("SDCL_PARITY_DIR") or Path(__file__).parents[1] / "fixtures").resolve()


@dataclass(frozen=True)
class Arrays:
    """The arrays of one set, loaded when they are asked for.

    Args:
        name: "centroids". mark: what tells the set from others of this name, such as "a".
    """

    name: str
    mark: str
    _loaded: dict[str, np.ndarray] = field(default_factory=dict, compare=False, repr=False)

    def __getitem__(self, key: str) -> np.ndarray:
        self._load()
        return self._loaded[key]

    def __contains__(self, key: str) -> bool:
        return key in self.names()

    def names(self) -> list[str]:
        """Names of the arrays; reads no array."""
        with np.load(self._path("npz")) as arrays:
            return list(arrays.files)

    def json(self) -> Any:
        """Content of the JSON file of the set."""
        return json.loads(self._path("json").read_text())

    def beside(self, name: str) -> Arrays:
        """The set of another name with the same mark."""
        return Arrays(name, self.mark)

    def _path(self, suffix: str) -> Path:
        return FOLDER / f"{self.name}_{self.mark}.{suffix}"

    def _load(self) -> None:
        if not self._loaded:
            with np.load(self._path("npz")) as arrays:
                self._loaded.update(arrays)

    def __str__(self) -> str:
        return f"{self.name}_{self.mark}"


def sets(name: str) -> list[Arrays]:
    """All sets of a name, by their marks."""
    pattern = re.compile(re.escape(name) + r"_([^_]+)\.(npz|json)")
    marks = {match[1] for path in FOLDER.glob(f"{name}_*") if (match := pattern.fullmatch(path.name))}
    return [Arrays(name, mark) for mark in sorted(marks)]


def recorded(*names: str, keys: str | None = None) -> pytest.MarkDecorator:
    """Run a test on every set of the names, as its argument `arrays`.

    Args:
        keys: regular expression for names of arrays; the test then has an argument `key`, the groups of a
            match.
    """
    found = [one for name in names for one in sets(name)]
    if not found and "SDCL_PARITY_DIR" not in os.environ:
        raise FileNotFoundError(f"{' or '.join(f'{name}_*.npz' for name in names)} in {FOLDER}")
    if not found:
        reason = f"no {' or '.join(f'{name}_*.npz' for name in names)} in {FOLDER}"
        missing = pytest.param(
            *([None] * (2 if keys else 1)), marks=pytest.mark.skip(reason=reason), id="missing"
        )
        return pytest.mark.parametrize(["arrays", "key"] if keys else ["arrays"], [missing])
    if keys is None:
        return pytest.mark.parametrize("arrays", found, ids=str)
    cases = [
        (one, match.groups()) for one in found for key in one.names() if (match := re.fullmatch(keys, key))
    ]
    return pytest.mark.parametrize(
        ("arrays", "key"), cases, ids=[f"{one}-{'-'.join(key)}" for one, key in cases]
    )
