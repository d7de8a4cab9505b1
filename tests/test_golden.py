"""A pinned loss curve: ten steps, seed 0, CPU, float32. A refactoring must not move it; a method's change says so here."""

import pytest
import raw_trees
from test_run import SMALL

from sdcl import train as train_program
from sdcl.config import parse

GOLDEN = {
    "contrast": [26.9874, 29.58, 30.5546, 28.5764, 22.8085, 25.9724, 26.0537, 20.5923, 27.0334, 24.7948],
    "unified": [11.3847, 12.6041, 18.1249, 14.0875, 9.8694, 15.6046, 13.6776, 11.2906, 13.2846, 9.1358],
}


@pytest.fixture
def curve(tmp_path, monkeypatch):
    root = raw_trees.sysu(tmp_path / "sysu", train=(1, 2, 3, 4), val=(5, 6), test=(7, 8), images=3)
    losses = []
    plain = train_program.read_losses

    def keep(history, names, *rest):
        losses.append(float(history[-1].sum()))
        return plain(history, names, *rest)

    monkeypatch.setattr(train_program, "read_losses", keep)

    def run(*more):
        flags = ["-d", "sysu", "--data-dir", str(root), "--cache-dir", str(tmp_path / "cache"), "--logs-dir", str(tmp_path / "run"), *SMALL]
        more = (
            "--seed",
            "0",
            "--iters",
            "10",
            "--iters-unified",
            "10",
            "--print-freq",
            "1",
            "--epochs",
            "1",
            "--eval-step",
            "0",
            "--calibrate-necks",
            *more,
        )
        train_program.train(parse([*flags, *more], "x", "")[0])
        return losses

    return run


@pytest.mark.parametrize("stage,flags", [("contrast", ()), ("unified", ("--unify-from", "0", "--cross-from", "0"))])
def test_loss_curve(curve, stage, flags):
    found = curve(*flags)
    assert found == pytest.approx(GOLDEN[stage], rel=2e-3)
