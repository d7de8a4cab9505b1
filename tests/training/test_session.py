"""The session between method and optimiser: what it hands out, refuses, records, and keeps away from
training.
"""

import dataclasses
import json
import traceback

import numpy as np
import pytest
import torch
from helpers.interrupting import stop_at
from helpers.small_runs import rows, state

from sdcl import train as train_program
from sdcl.analysis.label_churn import LabelChurn
from sdcl.analysis.label_quality import LabelQuality
from sdcl.config import METHODS
from sdcl.datasets import UNKNOWN, open_dataset
from sdcl.methods.baseline import Baseline
from sdcl.methods.parts import cluster_contrast
from sdcl.runtime.program import INTERRUPTED
from sdcl.training import session as session_module

QUICK = ("--method", "baseline", "--eval-step", "0", "--report", "none")


def replace_baseline(monkeypatch, **methods):
    """Register a method of the test's under the baseline's name."""
    monkeypatch.setitem(METHODS._entries, "baseline", type("Changed", (Baseline,), methods))


def test_four_frames_from_the_command_line_to_an_objective(flags, monkeypatch):
    stacks = []
    loss = cluster_contrast.cluster_contrast

    def recorded(*arguments):
        stacks.append(
            [
                f.name
                for f in traceback.extract_stack()
                if "/sdcl/" in f.filename and "program.py" not in f.filename
            ]
        )
        return loss(*arguments)

    monkeypatch.setattr(cluster_contrast, "cluster_contrast", recorded)
    assert train_program.main(flags("sysu", *QUICK, "--epochs", "1", "--iters", "1")) == 0
    assert stacks[0][:4] == ["main", "train", "train_stage", "forward"]  # then what the objective calls


def test_an_approximate_search_is_named_in_every_record(flags, tmp_path):
    """In the log, in each epoch's row, and in what pages and model cards repeat; an exact search in none."""
    pytest.importorskip("faiss", reason="faiss is an extra; the torch search is the default")
    short = (*QUICK, "--epochs", "1", "--iters", "1")
    assert train_program.main(flags("sysu", *short, "--knn", "faiss-ivf", "--knn-probes", "9")) == 0
    name, folder = "faiss-ivf:lists=0,probes=9", tmp_path / "run"
    notices = json.loads((folder / "environment.json").read_text())["notices"]
    (sentence,) = (n for n in notices if name in n)
    assert f"note: {sentence}" in (folder / "log.txt").read_text() and rows(folder)[0]["search"] == name
    assert json.loads((folder / "config.json").read_text())["knn_probes"] == 9
    assert train_program.main(flags("sysu", *short, "--logs-dir", str(tmp_path / "exact"))) == 0
    assert "search" not in rows(tmp_path / "exact")[0]


def test_provenance_of_the_images_is_recorded(flags, tmp_path):
    assert train_program.main(flags("sysu", *QUICK, "--epochs", "1", "--watch")) == 0
    facts = json.loads((tmp_path / "run/environment.json").read_text())
    assert facts["synthetic"] is True and facts["complete"] is True
    assert facts["notices"] and all(
        f"note: {n}" in (tmp_path / "run/log.txt").read_text() for n in facts["notices"]
    )
    assert "--watch has nothing to compare with" in (tmp_path / "run/log.txt").read_text()


def test_once_refuses_what_cannot_be_saved(flags, monkeypatch):
    def stages(self, epoch, extract, once):
        once(lambda: {"visible": {1, 2}})
        yield from Baseline.stages(self, epoch, extract, once)

    replace_baseline(monkeypatch, stages=stages)
    with pytest.raises(TypeError, match=r"set at \['visible'\].*it may return None, numbers"):
        train_program.main(flags("sysu", *QUICK))


def test_values_of_once_survive_a_signal(flags, tmp_path, monkeypatch):
    """Tuples, lists and numbers come back as they were, in the middle of an epoch."""
    seen = []

    def stages(self, epoch, extract, once):
        value = once(lambda: (np.arange(3), [1.5, {"a": torch.ones(2)}], None, "x"))
        seen.append(value)
        yield from Baseline.stages(self, epoch, extract, once)

    replace_baseline(monkeypatch, stages=stages)
    with monkeypatch.context() as patch:
        stop_at(patch, 3)
        assert train_program.main(flags("sysu", *QUICK, "--epochs", "1")) == INTERRUPTED
    assert train_program.main(flags("sysu", *QUICK, "--epochs", "1")) == 0
    before, after = seen
    assert type(after) is tuple and (after[0] == before[0]).all() and after[2:] == (None, "x")
    assert type(after[1]) is list and after[1][0] == 1.5 and torch.equal(after[1][1]["a"], torch.ones(2))


def test_labels_for_the_log_do_not_influence_training(flags, tmp_path, monkeypatch):
    """Neither true identities, nor what is computed from them, nor the churn."""
    line = flags("sysu", *QUICK, "--iters", "2")
    assert train_program.main([*line, "--logs-dir", str(tmp_path / "plain")]) == 0

    def without_identities(*arguments, **options):
        dataset = open_dataset(*arguments, **options)
        train = {
            m: [dataclasses.replace(s, identity=UNKNOWN) for s in samples]
            for m, samples in dataset.train.items()
        }
        return dataclasses.replace(dataset, train=train)

    monkeypatch.setattr(train_program, "open_dataset", without_identities)
    monkeypatch.setattr(LabelChurn, "update", lambda *_: None)
    monkeypatch.setattr(LabelQuality, "describe", lambda self, s: {"clusters": 99, "outliers": 99})
    assert train_program.main([*line, "--logs-dir", str(tmp_path / "blind")]) == 0
    assert "ari" in rows(tmp_path / "plain")[0]["labels"]["visible"]
    for name, value in state(tmp_path / "blind").items():
        assert torch.equal(value, state(tmp_path / "plain")[name]), name


def test_a_restart_begins_with_a_new_optimiser(flags, tmp_path, monkeypatch):
    made = []
    make = session_module.make_optimizer
    monkeypatch.setattr(session_module, "make_optimizer", lambda *a: made.append(make(*a)) or made[-1])
    line = flags("sysu", "--method", "adca", *QUICK[2:], "--epochs", "3", "--step-size", "1", "--iters", "1")
    assert train_program.main(line) == 0
    assert [len(o.state) > 0 for o in made] == [True, True]
    rates = [row["lr"] for row in rows(tmp_path / "run")]
    assert rates[1] == rates[0] and rates[2] == pytest.approx(0.1 * rates[0])  # --aggregate-from 1
