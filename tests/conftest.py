"""Fixtures of all tests: tiny data sets in their downloaded layouts, and flags of small runs on them."""

import os

import pytest
import torch
from helpers import raw_trees
from helpers.small_runs import method_in, small

# Two multi-threaded processes on two cores slow one another many times:
# with several workers each has one thread.
THREADS = 1 if "PYTEST_XDIST_WORKER" in os.environ else 2
torch.set_num_threads(THREADS)
os.environ["OMP_NUM_THREADS"] = str(THREADS)  # of the programs that tests start
# What a job's environment may say of itself is not of the processes that tests start.
for name in (
    "RANK",
    "WORLD_SIZE",
    "LOCAL_RANK",
    "LOCAL_WORLD_SIZE",
    "MASTER_ADDR",
    "MASTER_PORT",
    "FORCE_COLOR",
):
    os.environ.pop(name, None)
os.environ["NO_COLOR"] = "1"


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    people = tuple(range(1, 9))
    return {
        "sysu": raw_trees.sysu(root / "sysu", train=people[:4], val=people[4:6], test=people[6:], images=3),
        "regdb": raw_trees.regdb(root / "regdb", people=5, images=6),
    }


@pytest.fixture
def flags(data, tmp_path):
    """Flags of a small run, in its own folder."""

    def make(dataset, *more, cache=tmp_path / "cache"):
        where = [
            "-d",
            dataset,
            "--data-dir",
            str(data[dataset]),
            "--logs-dir",
            str(tmp_path / "run"),
            "--cache-dir",
            str(cache),
        ]
        return [*where, *small(method_in(more), dataset), *more]

    return make
