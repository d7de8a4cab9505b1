"""Seconds add up over blocks, and go on after an interruption."""

import pytest
import torch

from sdcl.training.clock import Clock


def test_seconds_add_up():
    clock = Clock(torch.device("cpu"))
    for _ in range(2):
        with clock("train"):
            pass
    first = clock.seconds["train"]
    assert first > 0 and set(clock.seconds) == {"embed", "cluster", "train", "test"}
    saved = dict(clock.seconds, train=100.0)
    clock.restart(saved)
    with clock("train"):
        pass
    assert 100 < clock.seconds["train"] < 101 and saved["train"] == 100
    clock.restart({})
    assert clock.seconds["train"] == 0
    with clock("test"):
        assert clock.so_far()["test"] > 0 == clock.seconds["test"]
    assert clock.so_far() == clock.seconds
    with pytest.raises(KeyError), clock("lunch"):
        pass
