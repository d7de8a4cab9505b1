"""Looks at features, labels and metrics while a run goes on: stops when features collapse, warns of the rest. Reads no identity."""

from __future__ import annotations

from typing import Any

import numpy as np

from sdcl.analysis.feature_health import collapsed, feature_health, label_warnings
from sdcl.analysis.published_curves import COUNTS, CURVES
from sdcl.config.settings import Settings
from sdcl.methods.interface import Features, Stage
from sdcl.runtime.errors import TrainingError
from sdcl.runtime.run_log import RunLog

BELOW = 5.0  # points under the published curve at which --watch speaks; runs of one recipe differ by about 1
FEW = 16  # images whose rank says nothing of the features: a camera of a small set
FACTOR = 1.5  # between numbers of clusters


class Health:
    """One for a run. `seen` is the present epoch's first look at each modality's features, for metrics.jsonl."""

    def __init__(self, settings: Settings, cameras: dict[str, np.ndarray], log: RunLog, synthetic: bool = False):
        self.settings, self.own, self.cameras, self.log = settings, settings.health, cameras, log
        self.epoch, self.seen = 0, {}
        self.published = (settings.run.method, settings.data.dataset)
        if self.own.watch and (synthetic or self.published not in CURVES):
            log.line(f"note: --watch has nothing to compare with: no curve is known for {' on '.join(self.published)} with this data")
        self.watching = self.own.watch and not synthetic and self.published in CURVES

    def begin(self, epoch: int) -> None:
        self.epoch, self.seen = epoch, {}

    def features(self, features: Features) -> None:
        """Look at what was extracted.

        Raises:
            ValueError: the features of a modality have collapsed.
        """
        for modality, branches in features.items():
            if len(branches["deep"]) <= FEW:
                continue
            health = feature_health(branches["deep"])
            self.seen.setdefault(modality, health)
            said = collapsed(modality, health, max_similarity=self.own.max_similarity, min_rank=self.own.min_rank)
            if said:
                raise TrainingError(f"epoch {self.epoch}: {said}")

    def labels(self, stage: Stage) -> None:
        """Warn of labels that are outliers or cameras."""
        for shown in stage.label_sets:
            if shown.rows is not None:
                continue  # within one camera there is nothing to tell
            limits = {"max_outliers": self.own.max_outliers, "max_camera_purity": self.own.max_camera_purity}
            for said in label_warnings(shown.name, shown.labels, self.cameras[shown.modality], **limits):
                self.log.line(f"warning: epoch {self.epoch}, stage {stage.name}: {said}")

    def compare(self, row: dict[str, Any]) -> None:
        """With --watch, set the epoch beside the published curve, and say when the run has left it."""
        if not self.watching:
            return
        for test in row.get("test", ()):
            curve = next(
                (c for name, c in CURVES[self.published].items() if test["protocol"].startswith(name) and not self.settings.test.rerank), {}
            )
            for metric, points in curve.items():
                if self.epoch in points:
                    gap = test[metric] - points[self.epoch]
                    word = "warning: has left the published curve" if gap < -BELOW else "watch"
                    self.log.line(
                        f"{word}: epoch {self.epoch}, {metric} {test[metric]:.2f}, published {points[self.epoch]:.2f} ({gap:+.2f})"
                    )
        for count, names in COUNTS[self.published].items():
            for name, points in names.items():
                if self.epoch in points and name in row["labels"]:
                    here, there = row["labels"][name][count], points[self.epoch]
                    far = not there / FACTOR <= here <= there * FACTOR
                    word = "warning: has left the published curve" if far and count == "clusters" else "watch"
                    self.log.line(f"{word}: epoch {self.epoch}, {count} of {name} {here}, published {there}")
