"""Runs that are killed (SIGKILL) at random moments and started again end as if nothing had happened.

Three kills of SDCL by default; twenty of each method, in any phase (decoding, extraction, clustering, steps,
saving), with

    SDCL_KILLS=20 python -m pytest -q -s -m long tests/test_kills.py
"""

import os
import random
import subprocess
import sys

import pytest
import torch
from helpers.small_runs import ROOT, rows, state

from sdcl.config import METHODS

KILLS = int(os.environ.get("SDCL_KILLS", "3"))
KILLED = tuple(METHODS) if "SDCL_KILLS" in os.environ else ("sdcl",)


def start(line):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "sdcl.train", *line],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


@pytest.mark.long
@pytest.mark.parametrize("method", KILLED)
def test_killed_at_random_moments(flags, tmp_path, method):
    more = ["--method", method, "--epochs", "4", "--iters", "6"]
    generator, survived, runs = random.Random(method), 0, 0
    whole, seconds = tmp_path / "whole", None
    while survived < KILLS:
        logs = whole if seconds is None else tmp_path / f"killed_{runs}"
        line = flags("sysu", *more, "--logs-dir", str(logs), cache=logs / "cache")
        if seconds is None:
            before = os.times().elapsed
            with start(line) as running:
                assert running.wait() == 0, running.stderr.read()
            seconds = os.times().elapsed - before
            continue
        runs += 1
        while True:
            with start(line) as running:
                try:
                    _, error = running.communicate(timeout=generator.uniform(0.2, 0.8) * seconds)
                except subprocess.TimeoutExpired:
                    running.kill()
                    survived += 1
                    if survived >= KILLS:
                        generator.uniform = lambda a, b: 1000.0  # enough: let it end
                    continue
            assert running.returncode == 0, error
            break
        for name, value in state(logs).items():
            assert torch.equal(value, state(whole)[name]), name
        for a, b in zip(rows(logs), rows(whole), strict=True):
            assert {k: v for k, v in a.items() if k != "seconds"} == {
                k: v for k, v in b.items() if k != "seconds"
            }
    print(f"{method}: {survived} kills survived in {runs} runs of {seconds:.0f} s, nothing lost")
