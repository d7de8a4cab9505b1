"""TensorBoard holds every number of every epoch once, also after a continued run; Weights & Biases is asked
for by name.
"""

import sys
import types

import pytest
from helpers.small_runs import rows

from sdcl import train as train_program
from sdcl.runtime import trackers


def test_numbers_are_named_by_their_path():
    row = {
        "epoch": 3,
        "stage": "x",
        "losses": {"a/b": 0.5},
        "test": [{"protocol": "P", "direction": "d", "R1": 2.0, "per_draw": [{"R1": 1.0}]}],
    }
    assert dict(trackers.numbers(row)) == {"epoch": 3, "losses/a/b": 0.5, "test/P/d/R1": 2.0}


def test_tensorboard_events_of_a_continued_run(flags, tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    for epochs in ("1", "2"):
        assert train_program.main(flags("sysu", "--epochs", epochs)) == 0
    events = accumulator.EventAccumulator(str(tmp_path / "run/tensorboard"))
    events.Reload()
    found = [(e.step, e.value) for e in events.Scalars("loss")]
    assert found == [(r["epoch"], pytest.approx(r["loss"], rel=1e-6)) for r in rows(tmp_path / "run")]
    assert "labels/visible/clusters" in events.Tags()["scalars"]


def test_weights_and_biases_by_its_flag(flags, tmp_path, monkeypatch, capsys):
    """Against a stand-in: the service itself is not reachable from a test."""
    sent = []
    run = types.SimpleNamespace(
        log=lambda values, step: sent.append((step, values["loss"])), finish=lambda: sent.append("end")
    )
    fake = types.ModuleType("wandb")
    fake.init = lambda **options: sent.append(options["project"]) or run
    fake.__spec__ = types.SimpleNamespace()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    assert train_program.main(flags("sysu", "--epochs", "1", "--wandb", "people")) == 0
    assert sent == ["people", (0, rows(tmp_path / "run")[0]["loss"]), "end"]
    monkeypatch.setitem(sys.modules, "wandb", None)
    monkeypatch.setattr(trackers.importlib.util, "find_spec", lambda name: None)
    assert train_program.main(flags("sysu", "--epochs", "2", "--wandb", "people")) == 2
    assert "--wandb needs" in capsys.readouterr().err
