"""The launch scripts as they are, with one, two and four processes: the same labels, and nearly the same
weights.
"""

import os
import subprocess
import sys

import pytest
import torch
from helpers.process_groups import run_program
from helpers.small_runs import ROOT, SMALL, rows, state


def run_script(name, *arguments, processes=1):
    environment = {
        **os.environ,
        "GPUS": str(processes),
        "PYTHON": sys.executable,
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
    }
    return run_program(["sh", str(ROOT / name), *map(str, arguments)], env=environment)


@pytest.mark.long
def test_all_ten_regdb_trials_are_looped_over():
    done = run_script("train_cc_vit_regdb.sh", "--print-config", *SMALL)
    assert done.returncode == 0
    assert [line for line in done.stdout.splitlines() if "settings of" in line] == [
        f"settings of the run in logs/sdcl_regdb/trial_{t}:" for t in range(1, 11)
    ]


@pytest.mark.long
@pytest.mark.parametrize("dataset,numbers", [("sysu", (1, 2)), ("regdb", (1, 2)), ("sysu", (1, 4))])
def test_launch_scripts_with_several_processes(flags, tmp_path, dataset, numbers):
    """The scripts as they are; any number of processes gives the same labels and nearly the same weights.

    Two processes are the two BatchNorm slices; four share each slice by two, and stochastic depth, which then
    differs, is off.
    """
    found = []
    for processes in numbers:
        trial = ["--trial", "2"] if dataset == "regdb" else []
        calm = ["--drop-path", "0"] if 4 in numbers else []
        logs = tmp_path / f"processes_{processes}"
        done = run_script(
            f"train_cc_vit_{dataset}.sh",
            *flags(dataset, "--logs-dir", str(logs), *trial, *calm, "--check-ranks"),
            processes=processes,
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        tested = run_script(
            f"test_cc_vit_{dataset}.sh",
            *flags(dataset)[2:4],
            "--logs-dir",
            logs,
            "--cache-dir",
            tmp_path / "cache",
            *trial,
        )
        assert tested.returncode == 0 and "mINP" in tested.stdout, tested.stderr[-3000:]
        run = logs / "trial_2" if trial else logs
        found.append((rows(run), state(run)))
    (rows_one, one), (rows_two, two) = found
    for a, b in zip(rows_one, rows_two, strict=True):
        assert a["labels"] == b["labels"] and a["loss"] == pytest.approx(b["loss"], rel=1e-4)
    for name in one:
        assert torch.allclose(one[name].float(), two[name].float(), atol=2e-5), name


def same_with(flags, tmp_path, method, dataset, numbers, *more):
    """Train by the method's example script with each number of processes: the same labels, and nearly the
    same weights. Returns the rows.

    SGD instead of the recipes' Adam, whose first steps turn the sign of a rounding error into a full step.
    """
    found = []
    for processes in numbers:
        logs = tmp_path / f"processes_{processes}"
        trial = ["--trial", "1"] if dataset == "regdb" else []
        own = ["--method", method, "--optimizer", "sgd", "--check-ranks", *more]
        script = (
            f"train_cc_vit_{dataset}.sh" if method == "baseline" else f"examples/train_{method}_{dataset}.sh"
        )
        done = run_script(script, *flags(dataset, "--logs-dir", str(logs), *trial, *own), processes=processes)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        run = logs / "trial_1" if trial else logs
        found.append((rows(run), state(run)))
    (rows_one, one), (rows_many, many) = found
    for a, b in zip(rows_one, rows_many, strict=True):
        assert a["labels"] == b["labels"] and a["loss"] == pytest.approx(b["loss"], rel=1e-4)
    for name in one:
        assert torch.allclose(one[name].float(), many[name].float(), atol=2e-5), name
    return rows_one


STAGES = {
    "gur": ("joint", "joint"),
    "adca": ("contrast", "aggregated"),
    "taa": ("contrast", "associated"),
    "dccl": ("interaction", "refined"),
    "pgm": ("contrast", "matched"),
    "hil": ("identity", "identity"),
    "bmil": ("hybrid", "joint"),
    "baseline": ("contrast",) * 2,
}
WITHOUT_CAMERAS = ("gur", "dccl")  # take another course on RegDB, which has none


@pytest.mark.parametrize(
    "method,stages,dataset",
    [pytest.param(m, stages, "sysu", marks=pytest.mark.long) for m, stages in STAGES.items()]
    + [
        pytest.param(m, stages, "regdb", marks=pytest.mark.long if m in WITHOUT_CAMERAS else pytest.mark.slow)
        for m, stages in STAGES.items()
    ],
)
def test_other_methods_with_one_and_two_processes(flags, tmp_path, method, stages, dataset):
    assert tuple(r["stage"] for r in same_with(flags, tmp_path, method, dataset, (1, 2))) == stages
    tested = run_script(
        f"examples/test_gur_{dataset}.sh", *flags(dataset)[2:4], "--method", method,
        "--logs-dir", tmp_path / "processes_2", "--cache-dir", tmp_path / "cache",
        *(["--trials", "1"] if dataset == "regdb" else []),
    )  # fmt: skip
    assert tested.returncode == 0 and "mINP" in tested.stdout, tested.stderr[-3000:]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["gur", "adca", "dccl", "baseline"])
def test_other_methods_with_four_processes(flags, tmp_path, method):
    """More processes than BatchNorm slices; stochastic depth, which then differs, is off.

    Losses of GUR's camera stages agree to six digits. Association embeddings over the memories of 30 images
    are saturated and nearly tied, so that the seventh digit would decide their clusters: GUR clusters its
    features here. Its 72 steps are small ones, or rounding grows to 1e-4.
    """
    calm = ["--no-cae", "--lr", "1e-6"] if method == "gur" else []
    same_with(flags, tmp_path, method, "sysu", (1, 4), "--drop-path", "0", *calm)


@pytest.mark.long
def test_regdb_from_rendered_people_with_the_default_folders(tmp_path):
    """The quick start's path for RegDB, smaller: render, prepare, both stages, test, with nothing said
    about places.
    """
    environment = {**os.environ, "GPUS": "1", "PYTHON": sys.executable, "PYTHONPATH": str(ROOT)}

    def call(*command):
        done = subprocess.run(
            [*map(str, command)], cwd=tmp_path, capture_output=True, text=True, check=False, env=environment
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return done.stdout

    call(
        sys.executable,
        "-m",
        "sdcl.synthetic.dataset",
        "--layout",
        "regdb",
        "--out",
        "data/regdb",
        "--identities",
        8,
        "--jobs",
        2,
    )
    call(sys.executable, ROOT / "prepare_regdb.py")
    small = (
        "--epochs 2 --iters 3 --iters-unified 3 --unify-from 1 -b 16 --num-instances 4 --k1 10 "
        "--k1-visible-unified 10 --cra-k 4 --eps 0.6"
    )
    shown = call(
        "sh",
        ROOT / "train_cc_vit_regdb.sh",
        "--config",
        ROOT / "examples/quickstart.json",
        *small.split(),
        "--trial",
        1,
    )
    assert "is synthetic" in shown and "loaded 94 of 94" in shown
    assert "thermal to visible" in call("sh", ROOT / "test_cc_vit_regdb.sh", "--trials", 1)
    first, second = rows(tmp_path / "logs/sdcl_regdb/trial_1")
    assert second["stage"] == "unified" and first["labels"]["visible"]["ari"] > 0.1
