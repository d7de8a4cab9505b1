"""Camera and time that the path of an image names, as text for people; None where it names none.

cam3/0007/0012.jpg                    camera 3             (SYSU-MM01)
0001_c07_s200656_f1234.jpg            camera 7, frame 1234 (LLCM)
0002_c1s1_000451_03.jpg               camera 1
gate/2024-05-01T13-45-10.jpg          2024-05-01 13:45:10
lobby_20240501_134510.png             2024-05-01 13:45:10
"""

from __future__ import annotations

import re
from typing import NamedTuple

CAMERA = re.compile(r"(?:^|[/_\-. ])(?:c|cam|camera)[_\- ]?0*(\d{1,4})(?=$|[/_\-. s])", re.IGNORECASE)
TIME = re.compile(
    r"(?<!\d)((?:19|20)\d\d)[-_.]?(0[1-9]|1[0-2])[-_.]?(0[1-9]|[12]\d|3[01])"
    r"(?:[T_\- .]?([01]\d|2[0-3])[-_.:h]?([0-5]\d)(?:[-_.:m]?([0-5]\d))?)?(?!\d)"
)
FRAME = re.compile(r"(?:^|[/_\-. ])f(?:rame)?[_\- ]?0*(\d{1,9})(?=$|[/_\-. ])", re.IGNORECASE)


class Taken(NamedTuple):
    """Where and when an image was taken, by its path."""

    camera: str | None
    time: str | None


def taken(path: str) -> Taken:
    """Read camera and time from a path below its folder; without a time the number of a frame."""
    camera, time, frame = CAMERA.search(path), TIME.search(path), FRAME.search(path)
    when = f"frame {frame[1]}" if frame else None
    if time:
        year, month, day, hour, minute, second = time.groups()
        when = (
            f"{year}-{month}-{day}" + (f" {hour}:{minute}" if hour else "") + (f":{second}" if second else "")
        )
    return Taken(camera[1] if camera else None, when)
