"""Optimiser steps: schedule, slices of the batch, gradients that are not finite, losses that are not."""

import pytest
import torch
from helpers.interrupting import stop_at
from helpers.small_runs import rows, state

from sdcl import train as train_program
from sdcl.config import resolve
from sdcl.methods.interface import Stage
from sdcl.methods.parts.cluster_contrast import ClusterContrast
from sdcl.models.factory import build_model
from sdcl.runtime.distributed import Processes
from sdcl.runtime.errors import SettingError
from sdcl.runtime.program import INTERRUPTED
from sdcl.training.trainer import (
    complete_momentum,
    learning_rate,
    make_optimizer,
    parallel_model,
    skipping_scaler,
)

CPU = torch.device("cpu")


def test_learning_rate_is_a_staircase():
    settings, _ = resolve({"method": "baseline", "lr": 1.0, "step_size": 2, "gamma": 0.1})
    assert [learning_rate(settings, e) for e in range(5)] == pytest.approx([1, 1, 0.1, 0.1, 0.01])


def test_frozen_parameters_are_not_optimised():
    model = build_model("resnet_mini", height=32, width=16)
    for name, kind in (("adam", torch.optim.Adam), ("sgd", torch.optim.SGD)):
        optimizer = make_optimizer(model, resolve({"method": "baseline", "optimizer": name})[0])
        assert type(optimizer) is kind
        trained = {id(p) for group in optimizer.param_groups for p in group["params"]}
        assert (
            trained
            == {id(p) for p in model.parameters() if p.requires_grad}
            != {id(p) for p in model.parameters()}
        )


@pytest.mark.parametrize("count,replicas,size", [(3, 2, 12), (1, 3, 16), (4, 2, 18)])
def test_batches_that_cannot_be_split_are_refused(count, replicas, size):
    settings, _ = resolve({"batch_size": size, "num_instances": 1, "bn_replicas": replicas})
    with pytest.raises(SettingError, match=f"{count} processes and --bn-replicas {replicas} cannot share"):
        parallel_model(build_model("resnet_mini", height=32, width=16), settings, Processes(0, count, 0, CPU))


def refused(capsys, arguments, *parts):
    assert train_program.main(arguments) == 2
    error = capsys.readouterr().err
    for part in parts:
        assert part in error, error


def break_gradients(monkeypatch, at):
    """Add a term of value 0 whose gradient is infinite, in the given steps of every stage."""
    plain, step = ClusterContrast.forward, [0]

    def forward(self, features, gathered, batch):
        terms = plain(self, features, gathered, batch)
        if step[0] in at:
            terms["broken"] = (features["visible"]["deep"].sum() * 0).abs().sqrt()
        else:
            terms["broken"] = features["visible"]["deep"].sum() * 0
        step[0] += 1
        return terms

    monkeypatch.setattr(ClusterContrast, "forward", forward)


def test_a_gradient_that_is_not_finite_is_skipped_and_counted(flags, tmp_path, monkeypatch, capsys):
    break_gradients(monkeypatch, {1})
    assert train_program.main(flags("sysu", "--epochs", "1")) == 0
    assert rows(tmp_path / "run")[0]["skipped_steps"] == 1
    assert all(torch.isfinite(v).all() for v in state(tmp_path / "run").values())
    break_gradients(monkeypatch, {0, 1, 2})
    refused(
        capsys,
        flags("sysu", "--max-skipped", "1", "--logs-dir", str(tmp_path / "two")),
        "left out",
        "--max-skipped 1",
    )


def test_loss_that_becomes_nan(flags, tmp_path, capsys):
    refused(capsys, flags("sysu", "--lr", "1e30", "--epochs", "1"), "became nan", "--lr")
    assert not (tmp_path / "run/last.pt").exists()


def test_a_signal_loses_no_skipped_step(flags, tmp_path, monkeypatch):
    """Skipped steps are counted every --print-freq steps; a signal between two counts comes with one of
    its own.
    """
    line = flags(
        "sysu",
        "--method",
        "baseline",
        "--epochs",
        "1",
        "--iters",
        "4",
        "--eval-step",
        "0",
        "--report",
        "none",
    )
    break_gradients(monkeypatch, {0})
    stop_at(monkeypatch, 8)  # after four batches of calibration and extraction, both results, and two steps
    assert train_program.main(line) == INTERRUPTED
    monkeypatch.undo()
    break_gradients(monkeypatch, set())
    assert train_program.main(line) == 0
    assert rows(tmp_path / "run")[0]["skipped_steps"] == 1


def test_terms_of_one_name_are_refused(flags, monkeypatch):
    """A term would silently take the other's place."""
    init = Stage.__init__

    def twice(self, name, labels, iterations, objectives=None, label_sets=()):
        init(
            self,
            name,
            labels,
            iterations,
            objectives and {**objectives, "again": objectives["contrast"]},
            list(label_sets),
        )

    monkeypatch.setattr(Stage, "__init__", twice)
    with pytest.raises(ValueError, match="share the name of a loss term"):
        train_program.main(flags("sysu", "--method", "baseline", "--epochs", "1"))


def test_a_first_step_that_is_left_out_makes_no_momentum():
    """On a GPU the kernels are fused, as here;
    torch's then takes whatever lies in memory for the momentum.
    """
    weight = torch.nn.Parameter(torch.zeros(1000))
    optimizer = torch.optim.SGD([weight], lr=0.1, momentum=0.9, fused=True)
    complete_momentum(optimizer)
    scaler = skipping_scaler(CPU)
    for gradient in (float("inf"), 1.0, 1.0):
        weight.grad = None
        for _ in range(20):
            torch.full((1000,), float("nan"))  # memory that was used
        scaler.scale((weight * gradient).sum()).backward()
        scaler.step(optimizer)
        scaler.update()
    torch.testing.assert_close(weight.detach(), torch.full((1000,), -0.1 - 0.19))


@pytest.mark.parametrize("frequency", [10, 200])
def test_a_loss_that_stays_nan_is_named_however_rarely_losses_are_read(flags, monkeypatch, capsys, frequency):
    """200 halvings of a scale of float32 end at 0."""
    plain = ClusterContrast.forward

    def forward(self, *arguments):
        return {name: term * float("nan") for name, term in plain(self, *arguments).items()}

    monkeypatch.setattr(ClusterContrast, "forward", forward)
    more = ("--method", "baseline", "--epochs", "1", "--iters", "200", "--print-freq", str(frequency))
    refused(capsys, flags("sysu", *more), "the loss term", "became nan")
