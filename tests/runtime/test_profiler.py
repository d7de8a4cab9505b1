"""A trace of as many steps as --profile asks for, also when training ends before."""

import json

import torch

from sdcl.runtime.profiler import StepProfiler


def steps_in(path):
    return sum("aten::mm" in e.get("name", "") for e in json.loads(path.read_text())["traceEvents"])


def profile(folder, steps, taken):
    folder.mkdir()
    profiler = StepProfiler(folder, steps)
    for _ in range(taken):
        torch.ones(2, 2) @ torch.ones(2, 2)
        profiler.step()
    profiler.close()
    return folder / "trace.json"


def test_steps_of_a_trace(tmp_path):
    assert steps_in(profile(tmp_path / "two", 2, taken=8)) == 2
    assert (
        steps_in(profile(tmp_path / "early", 5, taken=3)) == 1
    )  # two steps warm up, the second begins the trace
    assert not profile(tmp_path / "off", 0, taken=3).exists()
    assert not profile(tmp_path / "short", 2, taken=1).exists()
