"""Warnings and stops of a run: each is provoked, and nothing is compared with published curves that is not
comparable.
"""

import numpy as np
import pytest
import torch

from sdcl.clustering import LabelSet, PseudoLabels
from sdcl.config import resolve
from sdcl.methods.interface import Stage
from sdcl.runtime.errors import TrainingError
from sdcl.training.monitor import Monitor

FOUR = {"visible": np.ones(4, int), "infrared": np.ones(4, int)}


class Log:
    def __init__(self):
        self.lines = []

    def line(self, text):
        self.lines.append(text)


def watch(row, epoch, comparable=True, **settings):
    log = Log()
    monitor = Monitor(resolve({"watch": True, **settings})[0], FOUR, log, comparable=comparable)
    monitor.begin(epoch)
    monitor.compare(row)
    return log.lines


def test_watch_warns_when_a_run_leaves_the_published_curve():
    protocol = "SYSU-MM01 all-search single-shot, 10 seeded draws"
    test = {"protocol": protocol, "R1": 48.0, "mAP": 30.0, "mINP": 33.0}
    labels = {"visible": {"clusters": 700, "outliers": 100}, "infrared": {"clusters": 90, "outliers": 9000}}
    lines = watch({"test": [test], "labels": {}}, 9)
    assert any(line.startswith("watch: epoch 9, R1 48.00, published 47.66 (+0.34)") for line in lines)
    assert any(line.startswith("warning: has left the published curve: epoch 9, mAP 30.00") for line in lines)
    assert watch({"test": [test], "labels": {}}, 9, rerank=True) == []
    lines = watch({"labels": labels}, 0)
    assert any("watch: epoch 0, clusters of visible 700, published 687" in line for line in lines)
    assert any(
        "warning: has left the published curve: epoch 0, clusters of infrared 90" in line for line in lines
    )


@pytest.mark.parametrize("other", [{"method": "adca"}, {"comparable": False}, {"dataset": "llcm"}])
def test_watch_compares_with_nothing_else(other):
    (line,) = watch({"labels": {}}, 0, **other)
    assert "nothing to compare with" in line


def test_labels_within_one_camera_are_not_warned_of():
    log = Log()
    monitor = Monitor(resolve({})[0], {"visible": np.array([1, 1, 2, 2])}, log, comparable=True)
    labels = PseudoLabels(np.array([0, 0, 1, 1]), 2)
    monitor.check_labels(
        Stage("cameras", {}, 1, {}, [LabelSet("visible_camera_1", "visible", labels, np.array([0, 1]))])
    )
    assert not log.lines
    monitor.check_labels(Stage("modalities", {}, 1, {}, [LabelSet("visible", "visible", labels)]))
    assert "cameras" in log.lines[0]


def test_collapsed_features_stop_the_run_and_the_first_look_is_recorded():
    monitor = Monitor(resolve({})[0], FOUR, Log(), comparable=True)
    monitor.begin(3)
    spread = torch.randn(40, 8, generator=torch.Generator().manual_seed(0))
    monitor.check_features({"visible": {"deep": spread}})
    first = monitor.features["visible"]
    monitor.check_features(
        {"visible": {"deep": spread[:20]}, "infrared": {"deep": torch.ones(10, 8)}}
    )  # 10 images say nothing
    assert monitor.features == {"visible": first}
    with pytest.raises(TrainingError, match="epoch 3: the infrared features have collapsed"):
        monitor.check_features({"infrared": {"deep": torch.ones(40, 8)}})
    monitor.begin(4)
    assert monitor.features == {}


def test_a_note_of_a_stage_is_logged_once():
    log = Log()
    monitor = Monitor(resolve({})[0], FOUR, log, comparable=True)
    for epoch in (3, 4):
        monitor.begin(epoch)
        monitor.tell(Stage("joint", {}, 1, notes=("fewer than 50",)))
        monitor.tell(Stage("other", {}, 1))
    assert log.lines == ["note: epoch 3, stage joint: fewer than 50"]
