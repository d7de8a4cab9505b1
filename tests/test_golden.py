"""A pinned loss curve: ten steps, seed 0, CPU, float32. A refactoring must not move it; a method's change says so here."""

import pytest
from helpers import raw_trees
from helpers.small_runs import METHOD_FLAGS, SMALL

from sdcl import train as train_program
from sdcl.config.settings import parse
from sdcl.training import steps

ALL_AT_ONCE = ("--unify-from", "0", "--cross-from", "0", "--propagate-from", "0", "--structure-from", "0", "--aggregate-from", "0")
CURVES = {
    "sdcl contrast": (),
    "sdcl unified": ALL_AT_ONCE,
    "gur": (
        "--method",
        "gur",
        *METHOD_FLAGS,
        *ALL_AT_ONCE,
        "--camera-iters",
        "1",
        "--no-inter-modality",
    ),  # joint clusters are decided by rounding here
    "adca": ("--method", "adca", *METHOD_FLAGS, *ALL_AT_ONCE),
    "baseline": ("--method", "baseline", *METHOD_FLAGS),
}
GOLDEN = {
    "sdcl contrast": [26.1137, 23.6207, 27.3103, 16.9094, 25.4602, 26.7486, 16.8263, 23.9841, 27.5677, 17.081],
    "sdcl unified": [11.9767, 10.9156, 12.2041, 10.8515, 14.5075, 10.1309, 8.4233, 12.6025, 12.9145, 10.2838],
    "gur": [
        6.5103,
        6.5082,
        4.413,
        2.6307,
        5.2555,
        4.7441,
        2.2944,
        3.7904,
        5.0573,
        2.8214,
        5.8012,
        4.7905,
        4.8069,
        3.1916,
        3.075,
        2.6854,
        5.4537,
        3.1271,
    ],
    "adca": [6.6043, 5.9177, 4.3558, 4.6432, 3.2665, 3.9611, 4.2395, 3.2907, 5.1285, 2.8744],
    "baseline": [7.2125, 8.4077, 4.844, 9.6905, 6.2337, 4.9758, 4.1595, 4.3232, 7.231, 3.7533],
}


@pytest.fixture
def curve(tmp_path, monkeypatch):
    root = raw_trees.sysu(tmp_path / "sysu", train=(1, 2, 3, 4), val=(5, 6), test=(7, 8), images=3)
    losses = {}
    plain = steps.read_losses

    def keep(progress, *rest):
        losses[id(progress), progress.step] = float(progress.history[-1].sum())
        return plain(progress, *rest)

    monkeypatch.setattr(steps, "read_losses", keep)

    def run(*more):
        flags = ["-d", "sysu", "--data-dir", str(root), "--cache-dir", str(tmp_path / "cache"), "--logs-dir", str(tmp_path / "run"), *SMALL]
        more = "--seed 0 --iters 10 --iters-unified 10 --print-freq 1 --epochs 1 --eval-step 0 --calibrate-necks".split() + list(more)
        train_program.train(parse([*flags, *more], "x", "")[0])
        return list(losses.values())

    return run


@pytest.mark.parametrize("name", CURVES)
def test_loss_curve(curve, name):
    assert curve(*CURVES[name]) == pytest.approx(GOLDEN[name], rel=2e-3)
