"""Camera and time from paths, in the forms of data sets and recorders; numbers that are neither stay out."""

import pytest

from sdcl.inference.file_names import taken


@pytest.mark.parametrize(
    ("path", "camera", "time"),
    [
        ("cam3/0007/0012.jpg", "3", None),
        ("0001_c07_s200656_f1234.jpg", "7", "frame 1234"),
        ("0002_c1s1_000451_03.jpg", "1", None),
        ("gate/2024-05-01T13-45-10.jpg", None, "2024-05-01 13:45:10"),
        ("Camera_12/lobby_20240501_134510.png", "12", "2024-05-01 13:45:10"),
        ("20240501.png", None, "2024-05-01"),
        ("0007/0012.jpg", None, None),
        ("academic/20249901.png", None, None),
    ],
)
def test_taken(path, camera, time):
    assert taken(path) == (camera, time)
