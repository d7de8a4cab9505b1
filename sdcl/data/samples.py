"""What one image is: a path, who and where it shows, and which kind of camera took it."""

from __future__ import annotations

from dataclasses import dataclass

MODALITIES = ("visible", "infrared")


@dataclass(frozen=True)
class Sample:
    """One image of one person.

    Args:
        path: absolute path of the image file.
        identity: person number, unique within a split. Read by evaluation and reports, never by training.
        camera: camera number, as the data set counts (SYSU-MM01: 1..6; RegDB: 1 visible, 2 infrared).
        modality: "visible" or "infrared".
    """

    path: str
    identity: int
    camera: int
    modality: str
