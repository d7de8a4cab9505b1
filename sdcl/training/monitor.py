"""Watch features, labels and metrics of a run: stop when features collapse, warn of the rest.

No identity is read. N images of a modality, D dimensions.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sdcl.analysis.feature_health import collapsed, feature_health, label_warnings
from sdcl.analysis.published_curves import COUNTS, CURVES
from sdcl.config import Settings
from sdcl.methods.interface import Features, Stage
from sdcl.runtime.errors import TrainingError
from sdcl.runtime.run_log import RunLog

TOLERANCE = (
    5.0  # points below the published curve from which --watch warns; runs of one recipe differ by about 1
)
TOO_FEW = 16  # images, such as those of one camera of a small set, whose effective rank says nothing
FACTOR = 1.5  # between the number of clusters and the published one, from which --watch warns


class Monitor:
    """Checks of one epoch after another; `begin` starts each.

    Args:
        cameras: modality -> int (N,). comparable: with published curves, because the training images are
            those of the data set, all of them and no synthetic ones, and no identity of them was read.
    """

    def __init__(self, settings: Settings, cameras: dict[str, np.ndarray], log: RunLog, *, comparable: bool):
        self.settings, self.limits, self.cameras, self.log = settings, settings.health, cameras, log
        self.recipe = (settings.run.method, settings.data.dataset)
        self.watching = self.limits.watch and comparable and self.recipe in CURVES
        if self.limits.watch and not self.watching:
            log.line(
                f"note: --watch has nothing to compare with: no curve is known for "
                f"{' on '.join(self.recipe)} with this data and --labels {settings.run.labels}"
            )
        self.told: set[str] = set()  # notes of stages
        self.begin(0)

    def begin(self, epoch: int) -> None:
        """Begin an epoch."""
        self.epoch = epoch
        self.features: dict[
            str, dict[str, float]
        ] = {}  # of each modality's first extraction, for metrics.jsonl

    def check_features(self, features: Features) -> None:
        """Look at extracted features.

        Args:
            features: modality -> branch -> (N, D).

        Raises:
            TrainingError: the features of a modality have collapsed.
        """
        for modality, branches in features.items():
            if len(branches["deep"]) <= TOO_FEW:
                continue
            health = feature_health(branches["deep"])
            self.features.setdefault(modality, health)
            problem = collapsed(
                modality, health, max_similarity=self.limits.max_similarity, min_rank=self.limits.min_rank
            )
            if problem:
                raise TrainingError(f"epoch {self.epoch}: {problem}")

    def check_labels(self, stage: Stage) -> None:
        """Warn of labels that are mostly outliers, and of clusters that are cameras."""
        for label_set in stage.label_sets:
            if label_set.rows is not None:
                continue  # clustered within one camera
            warnings = label_warnings(
                label_set.name,
                label_set.labels,
                self.cameras[label_set.modality],
                max_outliers=self.limits.max_outliers,
                max_camera_purity=self.limits.max_camera_purity,
            )
            for warning in warnings:
                self.log.line(f"warning: epoch {self.epoch}, stage {stage.name}: {warning}")

    def tell(self, stage: Stage) -> None:
        """Log the notes of a stage, each once."""
        for note in stage.notes:
            if note not in self.told:
                self.told.add(note)
                self.log.line(f"note: epoch {self.epoch}, stage {stage.name}: {note}")

    def compare(self, row: dict[str, Any]) -> None:
        """With --watch, log metrics beside the published ones, and warn when the run has left their curve.

        Args:
            row: of metrics.jsonl.
        """
        if self.watching:
            self._compare_metrics(row)
            self._compare_labels(row)

    def _compare_metrics(self, row: dict[str, Any]) -> None:
        if self.settings.test.rerank:
            return
        for result in row.get("test", ()):
            protocols = CURVES[self.recipe].items()
            curves = next((c for name, c in protocols if result["protocol"].startswith(name)), {})
            for metric, published in curves.items():
                if self.epoch in published:
                    value, expected = result[metric], published[self.epoch]
                    difference = value - expected
                    text = f"{metric} {value:.2f}, published {expected:.2f} ({difference:+.2f})"
                    self._log_comparison(text, left=difference < -TOLERANCE)

    def _compare_labels(self, row: dict[str, Any]) -> None:
        for count, label_sets in COUNTS[self.recipe].items():
            for name, published in label_sets.items():
                if self.epoch in published and name in row["labels"]:
                    value, expected = row["labels"][name][count], published[self.epoch]
                    far = not expected / FACTOR <= value <= expected * FACTOR
                    self._log_comparison(
                        f"{count} of {name} {value}, published {expected}", left=far and count == "clusters"
                    )

    def _log_comparison(self, text: str, *, left: bool) -> None:
        word = "warning: has left the published curve" if left else "watch"
        self.log.line(f"{word}: epoch {self.epoch}, {text}")
