"""One image of a data set, and the order and grouping of a list of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

MODALITIES = ("visible", "infrared")
UNKNOWN = -1  # identity of an image without a label; only custom images have such
NO_TRACK = -1  # of an image that is no frame of a track
NUMBER = re.compile(r"([0-9]{1,18})\.[A-Za-z]+$")  # of a frame


@dataclass(frozen=True)
class Sample:
    """One image of one person.

    Args:
        path: absolute path of the image file.
        identity: person number, unique within a split, or `UNKNOWN`. Read by evaluation and reports; by
            training only where --labels names its modality.
        camera: camera number as the data set counts (SYSU-MM01: 1..6; RegDB: 1 visible, 2 infrared; LLCM:
            1..9 in both modalities).
        modality: "visible" or "infrared".
        track: number of the track that the image is a frame of, unique within a split and modality, or
            `NO_TRACK`. Read by evaluation, reports and pretraining, never by training.
        query: a frame of a track that the data set lists as a query.
    """

    path: str
    identity: int
    camera: int
    modality: str
    track: int = NO_TRACK
    query: bool = False


Split = dict[str, list[Sample]]  # modality -> samples


def in_order(samples: Iterable[Sample]) -> list[Sample]:
    """Sort by identity, camera and file name: the order of published data sets, on every file system.

    The frames of a track stay together, by the number at the end of their names.
    """
    return sorted(samples, key=_place)


def _place(sample: Sample) -> tuple[int, int, int, int, str]:
    name = Path(sample.path).name
    number = NUMBER.search(name) if sample.track != NO_TRACK else None
    return sample.identity, sample.camera, sample.track, int(number[1]) if number else 0, name


def by_identity_and_camera(samples: Sequence[Sample], cameras: Iterable[int]) -> list[list[int]]:
    """Indices of `samples`, grouped by identity (ascending) and camera (in the order of `cameras`).

    Pairs of identity and camera without an image are left out.
    """
    groups: dict[tuple[int, int], list[int]] = {}
    for index, s in enumerate(samples):
        groups.setdefault((s.identity, s.camera), []).append(index)
    identities, cameras = sorted({s.identity for s in samples}), tuple(cameras)
    return [groups[i, c] for i in identities for c in cameras if (i, c) in groups]


def identities_of(split: Split) -> set[int]:
    """All known identities of a split."""
    return {s.identity for samples in split.values() for s in samples} - {UNKNOWN}


def in_both_splits(train: Split, test: Split) -> list[str]:
    """A sentence on identities that are in both splits; none if there are none."""
    both = sorted(identities_of(train) & identities_of(test))
    return [f"{len(both)} identities are in the training and in the test split: {both[:10]}"] if both else []
