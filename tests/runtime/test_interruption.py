"""An epoch that a signal stopped goes on bit for bit; at any step, in any stage, for every method."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from helpers.interrupting import stop_at
from helpers.small_runs import ROOT, rows, state

from sdcl import train as train_program
from sdcl.runtime import checkpoint
from sdcl.runtime.program import INTERRUPTED


@pytest.mark.parametrize(
    "method",
    [
        "sdcl",
        *(
            pytest.param(m, marks=pytest.mark.long)
            for m in ("gur", "adca", "pgm", "hil", "bmil", "dccl", "taa")
        ),
    ],
)
def test_stopped_anywhere_and_continued(flags, tmp_path, monkeypatch, method):
    more = ["--method", method, "--report", "none"]
    whole = flags("sysu", *more, "--logs-dir", str(tmp_path / "whole"))
    looked = stop_at(monkeypatch, 0)
    assert train_program.main(whole) == 0
    places = looked[0]
    generator = np.random.default_rng(0)
    for place in sorted(
        generator.choice(np.arange(1, places), 3 if method == "sdcl" else 2, replace=False).tolist()
    ):
        logs = tmp_path / f"stopped_{place}"
        line = flags("sysu", *more, "--logs-dir", str(logs))
        stop_at(monkeypatch, place)
        assert train_program.main(line) == INTERRUPTED
        monkeypatch.undo()
        assert train_program.main(line) == 0
        assert not (logs / checkpoint.UNFINISHED).exists()
        for name, value in state(logs).items():
            assert torch.equal(value, state(tmp_path / "whole")[name]), (place, name)
        for a, b in zip(rows(logs), rows(tmp_path / "whole"), strict=True):
            assert {k: v for k, v in a.items() if k != "seconds"} == {
                k: v for k, v in b.items() if k != "seconds"
            }


@pytest.mark.parametrize("method", ["sdcl", pytest.param("gur", marks=pytest.mark.long)])
def test_label_churn_is_the_same_after_a_stop(flags, tmp_path, monkeypatch, method):
    """Stopped before, between and after the labels of an epoch: it is still compared with the last whole
    epoch, to the last digit.
    """
    epochs = 2 if method == "gur" else 3
    more = [
        "--report",
        "none",
        "--method",
        method,
        "--epochs",
        str(epochs),
        *(("--camera-iters", "1") if method == "gur" else ()),
    ]
    looked = stop_at(monkeypatch, 0)
    assert train_program.main(flags("sysu", *more, "--logs-dir", str(tmp_path / "whole"))) == 0
    places = looked[0]
    line = flags("sysu", *more, "--logs-dir", str(tmp_path / "parts"))
    stops = {"sdcl": (8, 1, 2, 2), "gur": (places // 2 + 2, 5)}[
        method
    ]  # counted anew after each continuation
    for place in stops:
        monkeypatch.undo()
        stop_at(monkeypatch, place)
        assert train_program.main(line) == INTERRUPTED
    monkeypatch.undo()
    assert train_program.main(line) == 0
    whole, parts = (rows(tmp_path / name) for name in ("whole", "parts"))
    assert [r["labels"] for r in parts] == [r["labels"] for r in whole]
    for epoch, row in enumerate(whole):
        for name, about in row["labels"].items():
            assert ("outlier_churn" in about) is (epoch > 0 and name in whole[epoch - 1]["labels"]), (
                epoch,
                name,
            )
    assert all("churn" in whole[-1]["labels"][m] for m in ("visible", "infrared"))


def test_a_damaged_unfinished_state_costs_its_epoch_only(flags, tmp_path, monkeypatch, capsys):
    line = flags("sysu", "--report", "none")
    stop_at(monkeypatch, 7)
    assert train_program.main(line) == INTERRUPTED
    monkeypatch.undo()
    target = tmp_path / "run" / checkpoint.UNFINISHED
    content = bytearray(target.read_bytes())
    content[len(content) // 2] ^= 1
    target.write_bytes(content)
    assert train_program.main(line) == 0
    assert "its checksum does not fit; starting epoch" in capsys.readouterr().out


def test_a_real_signal_to_the_real_command(flags, tmp_path):
    line = [
        sys.executable,
        "-m",
        "sdcl.train",
        *flags("sysu", "--iters", "400", "--epochs", "1", "--eval-step", "0"),
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        line, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as running:
        wait_for(tmp_path / "run/environment.json")
        running.send_signal(signal.SIGTERM)
        _, error = running.communicate(timeout=120)
    assert running.returncode == INTERRUPTED and "the same command continues" in error
    assert checkpoint.load(tmp_path / "run" / checkpoint.UNFINISHED)["epoch"] == 0


def wait_for(path, seconds=120):
    end = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < end, f"{path} did not appear"
        time.sleep(0.05)
