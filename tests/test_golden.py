"""Pinned loss curves of ten steps: a refactoring must not move them by a bit; a change of a method is
recorded on purpose with

    SDCL_WRITE_GOLDEN=1 python -m pytest -q tests/test_golden.py

Version 0.1 gave the same losses, bit for bit. On another machine than the one that made them (processor,
PyTorch version) sums are rounded differently, and the comparison is loose.
"""

import json
import os
import platform
from pathlib import Path

import pytest
import torch
from helpers import raw_trees
from helpers.small_runs import small

from sdcl.config import parse
from sdcl.train import train
from sdcl.training.trainer import StageTrainer

GOLDEN = Path(__file__).parent / "fixtures/golden.json"
CURVES = {
    "sdcl contrast": ("sdcl", "--iters-unified 10"),
    "sdcl unified": ("sdcl", "--iters-unified 10 --unify-from 0 --cross-from 0"),
    "sdcl joint": ("sdcl", "--iters-unified 10 --unify-from 0 --cross-from 0 --joint --eps 0.4"),
    # without the joint stage, whose clusters are decided by rounding on these images
    "gur": ("gur", "--propagate-from 0 --structure-from 0 --camera-iters 1 --no-inter-modality"),
    "gur joint": ("gur", "--propagate-from 0 --camera-iters 1 --no-inter-modality --joint"),
    "pgm": ("pgm", "--match-from 0"),
    "hil": ("hil", "--identity-from 0"),
    "bmil": ("bmil", "--joint-from 0"),
    "adca": ("adca", "--aggregate-from 0"),
    "dccl interaction": ("dccl", ""),
    "dccl refined": ("dccl", "--refine-from 0"),
    "taa": ("taa", "--associate-from 0"),
    "baseline": ("baseline", ""),
}
UNREAD = {  # flags of a small run that are not read with a switch
    "--no-inter-modality": ("--inter-modality-until",),
    "--unify-from 0 --cross-from 0 --joint": ("--k1-visible-unified", "--cra-k"),
    "--no-inter-modality --joint": ("--propagation-k", "--structure-from", "--structure-k"),
}


def machine():
    """What decides how sums are rounded."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    facts = dict(reversed([[part.strip() for part in line.split(":", 1)] for line in lines if ":" in line]))
    cpu = (
        " ".join(facts.get(key, "") for key in ("model name", "cpu family", "model")) or platform.processor()
    )
    return {"cpu": f"{cpu} {torch.backends.cpu.get_cpu_capability()}", "torch": torch.__version__}


@pytest.fixture
def one_thread():
    """The number of threads decides how sums are rounded."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def curve(tmp_path, monkeypatch, one_thread):
    root = raw_trees.sysu(tmp_path / "sysu", train=(1, 2, 3, 4), val=(5, 6), test=(7, 8), images=3)
    losses = []
    update = StageTrainer.update

    def record(self, outputs):
        update(self, outputs)
        losses.append(float(self.progress.history[-1].sum()))

    monkeypatch.setattr(StageTrainer, "update", record)

    def run(method, more):
        flags = small(method)
        for switch, unread in UNREAD.items():
            for flag in unread if switch in more else ():
                at = flags.index(flag)
                del flags[at : at + 2]
        folders = ["--data-dir", root, "--cache-dir", tmp_path / "cache", "--logs-dir", tmp_path / "run"]
        flags += [
            "-d",
            "sysu",
            *map(str, folders),
            *"--seed 0 --iters 10 --epochs 1 --eval-step 0".split(),
            *more.split(),
        ]
        train(parse(flags, "golden", "")[0])
        return losses

    return run


@pytest.mark.parametrize("name", CURVES)
def test_loss_curve(curve, name):
    assert torch.get_num_threads() == 1
    losses = curve(*CURVES[name])
    if "SDCL_WRITE_GOLDEN" in os.environ:
        golden = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {"curves": {}}
        golden |= {"machine": machine(), "curves": golden["curves"] | {name: losses}}
        GOLDEN.write_text(json.dumps(golden, indent=1) + "\n")
    golden = json.loads(GOLDEN.read_text())
    if golden["machine"] == machine():
        assert losses == golden["curves"][name]
    else:
        assert losses == pytest.approx(golden["curves"][name], rel=2e-3)
