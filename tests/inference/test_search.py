"""Search: thresholds keep their false-accept rate, and labelled images name people by their folders."""

import numpy as np
import pytest

from sdcl.inference.embeddings import Embeddings
from sdcl.inference.search import calibrate_threshold, search
from sdcl.runtime.errors import DataError, SettingError

generator = np.random.default_rng(0)


def unit_rows(count, dim=6):
    rows = generator.normal(size=(count, dim))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return Embeddings(rows, [f"{i}.png" for i in range(count)], {"root": "x"})


def test_calibration_keeps_its_rate():
    """Impostors from the reference's own distribution pass no more often than was asked, over many draws."""
    accepted = []
    for _ in range(200):
        gallery, reference, impostors = unit_rows(30), unit_rows(49), unit_rows(20)
        threshold = calibrate_threshold(reference, gallery, 0.1).threshold
        accepted += [a["in_gallery"] for a in search(impostors, gallery, top=1, threshold=threshold)]
    assert 0.08 < np.mean(accepted) < 0.12
    with pytest.raises(DataError, match="needs at least 99 reference images, got 49"):
        calibrate_threshold(reference, gallery, 0.01)
    with pytest.raises(SettingError):
        calibrate_threshold(reference, gallery, 1.0)


def test_labels_need_folders():
    with pytest.raises(DataError, match="no folder"):
        calibrate_threshold(unit_rows(20), unit_rows(20), 0.1, labelled=True)


def test_without_a_threshold_nothing_is_decided():
    answers = search(unit_rows(3), unit_rows(4), top=2)
    assert all(a["in_gallery"] is None and len(a["results"]) == 2 for a in answers)
