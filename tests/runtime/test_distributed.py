"""Two gloo processes against one: gathering, shares, BatchNorm over both, hashes; a process that fails ends
the job with its error.
"""

import os
import re
import signal
import sys

import numpy as np
import pytest
import torch
from helpers import process_groups
from helpers.small_runs import ROOT, rows

from sdcl import train as train_program
from sdcl.clustering import nearest_neighbors
from sdcl.config import parse
from sdcl.models.sync_batch_norm import synchronise_batch_norm
from sdcl.runtime import checkpoint, distributed
from sdcl.runtime.errors import CheckpointError
from sdcl.runtime.interruption import Interruption
from sdcl.runtime.program import INTERRUPTED
from sdcl.runtime.run_log import RunLog
from sdcl.runtime.work_sharing import with_idle_ranks
from sdcl.training.epoch_journal import require_recordable
from sdcl.training.session import TrainingSession

ROWS = torch.randn(12, 5, 4, generator=torch.Generator().manual_seed(0)) * 3 + 1


def normalised(layer, x):
    x = x.clone().requires_grad_()
    out = layer(x)
    (out * torch.arange(out.numel()).reshape(out.shape).sin()).sum().backward()
    return out.detach(), x.grad


def scaled_rows(rows, factor, shard, shards):
    """Rows of this shard, for `with_idle_ranks`; a factor of 0 fails on the second process."""
    if factor == 0 and shard == 1:
        raise MemoryError("full")
    return rows[shard::shards] * factor, torch.full((1,), shard)


def work_together():
    """What `once` computes on process 0, with help."""
    parts = with_idle_ranks(scaled_rows, ROWS, 3.0)
    assert torch.equal(parts[0][0], ROWS[::2] * 3) and torch.equal(parts[1][0], ROWS[1::2] * 3)
    return [int(which) for _, which in parts]


def worker(rank, port, folder):
    process_groups.as_rank(rank, 2, port)
    processes = distributed.start("cpu")
    assert (processes.rank, processes.count) == (rank, 2)
    assert distributed.once(lambda: rank) == 0
    gathered = distributed.gather_rows(torch.full((2, 3), float(rank)))
    assert gathered[:, 0].tolist() == [0, 0, 1, 1]
    for count in (1, 2, 7, 12):
        mine = torch.arange(count)[distributed.share_of(count)]
        assert distributed.gather_shares(mine, count).tolist() == list(range(count))
    try:
        distributed.once(lambda: int("x"))
        raise AssertionError("the error of process 0 must reach all")
    except ValueError:
        pass
    with pytest.raises(TypeError, match=r"set at \['a'\]"):  # refused before it is sent, on both
        distributed.once(lambda: require_recordable({"a": {1}}))
    with pytest.raises(ValueError, match="2 ranks cannot be split into 3 groups"):
        distributed.subgroup(3)
    assert distributed.once(lambda: work_together() + work_together()) == [0, 1, 0, 1]
    with pytest.raises(RuntimeError, match="process 1: MemoryError: full"):
        distributed.once(lambda: with_idle_ranks(scaled_rows, ROWS, 0))
    features = torch.randn(700, 16, generator=torch.Generator().manual_seed(3))
    shared = distributed.once(lambda: nearest_neighbors(features, 9, chunk=64))
    assert np.array_equal(
        shared, nearest_neighbors(features, 9, chunk=64)
    )  # outside of `once` alone, and the same
    distributed.assert_equal([ROWS], "here")
    try:
        distributed.assert_equal([ROWS + rank], "there")
        raise AssertionError("different values must be seen")
    except RuntimeError as error:
        assert str(error).startswith("there: the processes hold different")
    assert distributed.equal_everywhere((3, "a")) and not distributed.equal_everywhere((3, rank))
    assert distributed.any_process(rank == 1) and not distributed.any_process(False)
    layer = torch.nn.Sequential(torch.nn.BatchNorm1d(5))
    synchronise_batch_norm(layer, 1)
    half = slice(rank * 6, rank * 6 + 6)
    x = ROWS[half].clone().requires_grad_()
    out = layer(x)
    weight = torch.arange(ROWS.numel()).reshape(ROWS.shape).sin()[half]
    (out * weight).sum().backward()
    torch.save(
        {"out": out.detach(), "grad": x.grad, "mean": layer[0].running_mean, "var": layer[0].running_var},
        f"{folder}/{rank}.pt",
    )
    distributed.stop()


def test_two_processes(tmp_path):
    with process_groups.ports() as (port,):
        process_groups.spawn(worker, (port, str(tmp_path)), 2)
    found = [torch.load(tmp_path / f"{r}.pt") for r in range(2)]
    plain = torch.nn.BatchNorm1d(5)
    out, gradient = normalised(plain, ROWS)
    torch.testing.assert_close(torch.cat([f["out"] for f in found]), out, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(torch.cat([f["grad"] for f in found]), gradient, atol=1e-5, rtol=1e-5)
    for f in found:
        torch.testing.assert_close(f["mean"], plain.running_mean)
        torch.testing.assert_close(f["var"], plain.running_var)


def resume_from_own_folders(rank, port, folder):
    process_groups.as_rank(rank, 2, port)
    line = ["-d", "sysu", "--method", "baseline", "--device", "cpu", "--logs-dir", f"{folder}/{rank}"]
    with pytest.raises(
        CheckpointError, match=r"do not see the same checkpoints .* a folder that all machines share"
    ):
        resume_alone(parse(line, "x", "")[0], distributed.start("cpu"))
    distributed.stop()


def resume_alone(settings, processes):
    """What a session does when it looks for the state that it continues from."""
    part = object.__new__(TrainingSession)
    part.settings, part.processes = settings, processes
    part.log = RunLog(settings.run_dir, main=processes.main)
    part._resume()


def test_processes_that_see_other_checkpoints_do_not_train(tmp_path):
    """--logs-dir on the own disk of each of two machines; the first has a checkpoint."""
    checkpoint.save(tmp_path / "0", checkpoint.LAST, {"model": {}, "settings": {}, "epoch": 4, "rows": []})
    with process_groups.ports() as (port,):
        process_groups.spawn(resume_from_own_folders, (port, str(tmp_path)), 2)


@pytest.mark.long
@pytest.mark.parametrize("at", [0.3, 0.9])
def test_losses_after_a_signal_are_those_of_all_processes(tmp_path, flags, at):
    """Within a stage, and when a stage of the epoch is finished (GUR has several)."""
    flags = flags("sysu", "--method", "gur", "--epochs", "1", "--report", "none", "--camera-iters", "1")
    with process_groups.ports(3) as ports:
        process_groups.spawn(interrupt_and_continue, (ports, flags, str(tmp_path), at), 2)
    whole, parts = (rows(tmp_path / name) for name in ("whole", "parts"))
    assert whole[0]["losses"] == parts[0]["losses"] and whole[0]["loss"] == parts[0]["loss"]


def interrupt_and_continue(rank, ports, flags, folder, at):
    """A whole run; then one that a signal ends at a share of the points that look for one; its rest."""
    plain = Interruption.check
    looks, last = [0], 0
    for run, port in zip(("whole", "parts", "parts"), ports):
        stop = round(at * last) if (run, looks[0]) == ("parts", 0) else 0

        def counting(self, stop=stop, **options):
            looks[0] += 1
            if looks[0] == stop and rank == 1:
                os.kill(os.getpid(), signal.SIGTERM)
            plain(self, **options)

        Interruption.check = counting
        process_groups.as_rank(rank, 2, port)
        code = train_program.main([*flags, "--logs-dir", f"{folder}/{run}"])
        assert code == (INTERRUPTED if stop else 0), (run, stop, code)
        distributed.stop()
        last, looks[0] = looks[0], (1 if stop else 0)
    Interruption.check = plain


def test_alone():
    processes = distributed.start("cpu")
    assert processes.main and processes.count == 1 and not processes.bf16("fp32") and processes.bf16("bf16")
    rows = torch.randn(3, 2)
    assert torch.equal(with_idle_ranks(scaled_rows, rows, 2.0)[0][0], 2 * rows)
    assert (
        distributed.gather_rows(rows) is rows
        and distributed.once(lambda: 7) == 7
        and distributed.share_of(5) == slice(0, 5)
    )


def launch(kind, flags, *more):
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", *more]
    line = [*launcher, str(ROOT / "tests/runtime/failing_rank.py"), kind, *flags("sysu")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return process_groups.run_program(line, env=environment)


@pytest.mark.parametrize(
    "kind,code,message",
    [
        pytest.param("error", 1, "RuntimeError: this process has broken", marks=pytest.mark.long),
        ("refusal", 2, "error: this process refuses"),
        ("optimizer", 1, "ValueError: operands could not be broadcast together"),
    ],
)
def test_a_failing_process_ends_the_job(flags, kind, code, message):
    """With its error, which has no traceback if it is a user's. The other process does not wait for it: for
    the two hours of its group, `launch` has no patience.
    """
    done = launch(kind, flags)
    assert done.returncode == 1 and message in done.stderr
    # the launcher lists what had ended when it looked: the failing process, and perhaps the other one, which
    # lost its peer (1, or -6 from a thread of gloo's own) or was ended by the launcher (-15)
    listed = {int(number) for number in re.findall(r"exitcode  : (-?\d+)", done.stderr)}
    ended = listed - {-signal.SIGTERM, -signal.SIGABRT}
    assert listed and ended <= {code, 1}
    assert "UserError" not in done.stderr  # as a traceback would end


def test_a_value_error_of_a_library_keeps_its_traceback_on_one_process(flags):
    line = [sys.executable, str(ROOT / "tests/runtime/failing_rank.py"), "optimizer", *flags("sysu")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = process_groups.run_program(line, env=environment)
    assert (
        done.returncode == 1 and "Traceback" in done.stderr and "error: " not in done.stderr.splitlines()[0]
    )
    assert done.stderr.rstrip().endswith("ValueError: operands could not be broadcast together")


@pytest.mark.slow
def test_an_elastic_restart_continues_from_the_checkpoint(flags, tmp_path):
    done = launch("once", flags, "--max_restarts", "1")
    assert done.returncode == 0, done.stderr
    assert (
        "RuntimeError: this process has broken" in done.stderr and "continuing after epoch 0" in done.stdout
    )
    assert [row["epoch"] for row in rows(tmp_path / "run")] == [0, 1]
