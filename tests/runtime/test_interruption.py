"""An epoch that a signal stopped goes on bit for bit; at any step, in any stage, for every method."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from helpers.interrupting import stop_at
from helpers.process_groups import PATIENCE, run_program, wait_until
from helpers.small_runs import ROOT, rows, state

from sdcl import train as train_program
from sdcl.inference.test_set import TestSet
from sdcl.models.vit import DualBranchViT
from sdcl.runtime import checkpoint, distributed
from sdcl.runtime.program import INTERRUPTED
from sdcl.training import session
from sdcl.training.session import TrainingSession


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


EMBEDDING = ("--method", "baseline", "--report", "none", "--embed-batch-size", "8", "--test-batch-size", "4")


@pytest.mark.parametrize(
    "at", ["later", *(pytest.param(at, marks=pytest.mark.long) for at in ("calibrate", "first", "test"))]
)
def test_an_embedding_stops_between_two_batches(flags, tmp_path, monkeypatch, at):
    """The signal comes in the model's third forward pass of such an embedding;
    the run goes on bit for bit.
    """
    whole = flags("sysu", *EMBEDDING, "--logs-dir", str(tmp_path / "whole"))
    assert train_program.main(whole) == 0
    line = flags("sysu", *EMBEDDING, "--logs-dir", str(tmp_path / "parts"))
    under_way, passes, ended = [], [0], []
    wanted = {
        "calibrate": ("calibrate", 1),
        "first": ("train", 1),
        "later": ("train", 2),
        "test": ("test", 1),
    }[at]

    def signalling(function, name):
        def call(*arguments, **options):
            under_way.append(name)
            if (name, under_way.count(name)) == wanted:
                passes[0] = 1
            value = function(*arguments, **options)
            ended.append((name, under_way.count(name)))
            passes[0] = 0
            return value

        return call

    forward = DualBranchViT.forward

    def counted(self, images):
        if passes[0]:
            passes[0] += 1
            if passes[0] == 4:
                os.kill(os.getpid(), signal.SIGTERM)
        return forward(self, images)

    with monkeypatch.context() as patch:
        patch.setattr(DualBranchViT, "forward", counted)
        patch.setattr(session, "calibrate_necks", signalling(session.calibrate_necks, "calibrate"))
        patch.setattr(TrainingSession, "extract", signalling(TrainingSession.extract, "train"))
        patch.setattr(TestSet, "evaluate", signalling(TestSet.evaluate, "test"))
        assert train_program.main(line) == INTERRUPTED
    assert (
        wanted not in ended and passes[0] <= 5
    )  # a batch has two passes, those of the image and of its flip
    assert (tmp_path / "parts" / checkpoint.UNFINISHED).exists() is (at != "calibrate")
    assert train_program.main(line) == 0
    for name, value in state(tmp_path / "parts").items():
        assert torch.equal(value, state(tmp_path / "whole")[name]), name
    for a, b in zip(rows(tmp_path / "parts"), rows(tmp_path / "whole"), strict=True):
        assert {k: v for k, v in a.items() if k != "seconds"} == {
            k: v for k, v in b.items() if k != "seconds"
        }


@pytest.mark.parametrize("ranks", [1, 2, 3, 7])
@pytest.mark.parametrize("count", [0, 1, 5, 14, 20])
def test_every_process_looks_for_signals_as_often(monkeypatch, ranks, count):
    """So often as the one with the largest share has batches;
    with fewer looks the others would wait for ever.
    """
    shares = []
    for rank in range(ranks):
        monkeypatch.setattr(distributed, "_rank_and_count", lambda rank=rank: (rank, ranks))
        shares.append(len(range(count)[distributed.share_of(count)]))
        largest = distributed.largest_share(count)
    assert max(shares) == largest


@pytest.mark.long
def test_one_signalled_process_of_two_stops_both_within_an_embedding(flags, tmp_path):
    """Its signal comes in a batch of the first epoch's embedding; the run goes on bit for bit."""
    folders = [tmp_path / name for name in ("whole", "parts")]
    kinds = [("nothing", folders[0], 0), ("signal", folders[1], 1), ("nothing", folders[1], 0)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    script = str(ROOT / "tests/runtime/failing_rank.py")
    for kind, folder, code in kinds:
        line = [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc_per_node",
            "2",
            script,
        ]
        line += [kind, *flags("sysu", *EMBEDDING, "--logs-dir", str(folder))]
        done = run_program(line, env=environment)
        assert done.returncode == code, done.stderr
        if kind == "signal":
            assert f"exitcode  : {INTERRUPTED}" in done.stderr
            assert "saved within epoch 0" in done.stdout and not (folder / "metrics.jsonl").read_text()
    for name, value in state(folders[1]).items():
        assert torch.equal(value, state(folders[0])[name]), name


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
        wait_until((tmp_path / "run/environment.json").exists)
        running.send_signal(signal.SIGTERM)
        _, error = running.communicate(timeout=PATIENCE)
    assert running.returncode == INTERRUPTED and "the same command continues" in error
    assert checkpoint.load(tmp_path / "run" / checkpoint.UNFINISHED)["epoch"] == 0
