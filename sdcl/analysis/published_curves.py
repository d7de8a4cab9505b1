"""Metrics and label counts of the authors' training log (released SDCL code, SYSU-MM01).

Comparable only with runs of the same recipe on the same, real images. Epoch 49 is the last one, which is what
a run here ends with; 38 is the log's best by test.
"""

from __future__ import annotations

SOURCE = "the authors' released training log"

# (method, data set) -> beginning of the protocol's name -> metric -> epoch -> percent, of some epochs.
CURVES: dict[tuple[str, str], dict[str, dict[str, dict[int, float]]]] = {
    ("sdcl", "sysu"): {
        "SYSU-MM01 all-search single-shot": {
            "R1": {0: 17.98, 1: 27.67, 9: 47.66, 19: 54.46, 29: 56.34, 30: 61.90, 38: 65.29, 49: 64.73},
            "mAP": {0: 17.41, 1: 25.98, 9: 46.56, 19: 52.62, 29: 54.04, 30: 60.66, 38: 63.62, 49: 63.10},
            "mINP": {0: 8.44, 9: 32.70, 19: 38.61, 29: 39.41, 30: 48.03, 38: 50.94, 49: 50.43},
        },
        "SYSU-MM01 indoor-search single-shot": {
            "R1": {29: 62.68, 30: 68.07},
            "mAP": {29: 68.54, 30: 73.63},
            "mINP": {29: 64.35, 30: 70.03},
        },
    }
}
# (method, data set) -> count -> name of the label set -> epoch -> number.
COUNTS: dict[tuple[str, str], dict[str, dict[str, dict[int, int]]]] = {
    ("sdcl", "sysu"): {
        "clusters": {
            "visible": {0: 687, 29: 693, 30: 1087, 49: 1088},
            "infrared": {0: 405, 29: 396, 49: 403},
            "visible_associated": {30: 370, 49: 378},
        },
        "outliers": {"visible": {0: 2809, 29: 83, 30: 235}, "infrared": {0: 2275, 29: 16}},
    }
}
