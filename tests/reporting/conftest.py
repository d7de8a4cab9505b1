"""Records of runs without folders."""

from pathlib import Path

import pytest

from sdcl.reporting.run_record import Record


@pytest.fixture
def run():
    """run(seed, r1, ...) -> Record of a tested run."""

    def make(seed, r1, *, trial=1, dataset="sysu", data="d", **changed):
        numbers = {"R1": r1, "R5": 50.0, "R10": 60.0, "R20": 70.0, "mAP": r1 - 1, "mINP": 5.0}
        results = [{"protocol": "P_1, ten | draws", "direction": "a to b", **numbers}]
        settings = {
            "method": "sdcl",
            "dataset": dataset,
            "seed": seed,
            "trial": trial,
            "logs_dir": f"logs/{seed}",
            "eps": 0.6,
        }
        rows = [{"epoch": e, "test": [r | {"R1": r1 - 1 + e} for r in results]} for e in (0, 1)]
        return Record(
            Path(f"logs/{seed}"),
            f"seed{seed}",
            settings | changed,
            {"data": data},
            rows,
            results,
            "test.json",
        )

    return make


@pytest.fixture
def six_runs(run):
    """Three seeds of two experiments, in mixed order."""
    first = [run(s, v) for s, v in ((1, 30.0), (2, 32.0), (3, 34.0))]
    second = [run(s, v, eps=0.5) for s, v in ((3, 37.0), (1, 31.0), (2, 34.0))]
    return [first[0], second[0], first[1], second[1], first[2], second[2]]
