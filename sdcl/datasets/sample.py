"""What one image is: a path, who and where it shows, and which kind of camera took it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

MODALITIES = ("visible", "infrared")
UNKNOWN = -1  # identity of an image of which nobody said whom it shows; only one's own data have such


@dataclass(frozen=True)
class Sample:
    """One image of one person.

    Args:
        path: absolute path of the image file.
        identity: person number, unique within a split, or `UNKNOWN`. Read by evaluation and reports, never by training.
        camera: camera number, as the data set counts (SYSU-MM01: 1..6; RegDB: 1 visible, 2 infrared; LLCM: 1..9 in both modalities).
        modality: "visible" or "infrared".
    """

    path: str
    identity: int
    camera: int
    modality: str


def by_identity_and_camera(samples: Sequence[Sample], cameras: Iterable[int]) -> list[list[int]]:
    """Rows of each identity in each camera that shows it: identities ascending, `cameras` in their order, rows in that of `samples`."""
    found: dict[tuple[int, int], list[int]] = {}
    for row, s in enumerate(samples):
        found.setdefault((s.identity, s.camera), []).append(row)
    order, cameras = sorted({s.identity for s in samples}), tuple(cameras)
    return [found[i, c] for i in order for c in cameras if (i, c) in found]
