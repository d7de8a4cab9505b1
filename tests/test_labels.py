"""--labels: the identities of one side replace its pseudo-labels, and those of the other are never read."""

import contextlib
import csv
import dataclasses
import json

import numpy as np
import pytest
import torch
from helpers.run_folders import write_run
from helpers.small_runs import state

from sdcl import test as test_program
from sdcl import train as train_program
from sdcl.analysis.label_quality import LabelQuality
from sdcl.clustering import PseudoLabels
from sdcl.config import parse, resolve
from sdcl.config.supervision import supervision, usable_labels
from sdcl.datasets import MODALITIES, UNKNOWN, open_dataset
from sdcl.inference.export import export
from sdcl.inference.trained_model import TrainedModel
from sdcl.methods import parts
from sdcl.methods.build import build_method
from sdcl.reporting.write import write_comparison, write_report
from sdcl.runtime.errors import DataError, SettingError

QUICK = ("--eval-step", "0", "--report", "none")


def other(side):
    return next(m for m in MODALITIES if m != side)


# ------------------------------------------------------------------ which methods, which identities


def test_a_method_that_cannot_use_labels_refuses_them_and_names_those_that_can():
    with pytest.raises(SettingError, match=r"--method gur works with --labels none, got visible; .*adca"):
        resolve({"method": "gur", "labels": "visible"})
    with pytest.raises(SettingError, match="--labels must be one of none, visible, infrared"):
        resolve({"method": "adca", "labels": "both"})
    for method in ("baseline", "adca", "sdcl", "pgm", "hil"):
        assert usable_labels(method) == ("none", "visible", "infrared")
    assert usable_labels("dccl") == ("none", "infrared")


def test_a_method_is_given_the_numbered_identities_of_the_labelled_side_alone(data):
    dataset = open_dataset("sysu", data["sysu"])
    cameras = {m: np.array([s.camera for s in samples]) for m, samples in dataset.train.items()}
    settings = resolve({"method": "adca", "labels": "infrared"})[0]
    identities = build_method(settings, dataset, cameras).identities
    assert list(identities) == ["infrared"]
    real = np.array([s.identity for s in dataset.train["infrared"]])
    assert set(identities["infrared"]) == set(range(len(set(real))))
    np.testing.assert_array_equal(np.unique(real)[identities["infrared"]], real)
    assert build_method(resolve({"method": "adca"})[0], dataset, cameras).identities is None


def test_the_labelled_side_is_not_clustered_and_has_no_outliers():
    clustered = []

    def cluster(modality):
        clustered.append(modality)
        return PseudoLabels(np.array([0, -1, 1]), 2)

    labels = parts.label_each(cluster, {"visible": np.array([1, 0, 2])})
    assert clustered == ["infrared"] and list(labels) == list(MODALITIES)
    assert labels["visible"].ids.tolist() == [1, 0, 2] and labels["visible"].num_clusters == 3


def test_unknown_identities_of_the_labelled_side_are_refused_by_name(data):
    whole = open_dataset("sysu", data["sysu"])
    nameless = [dataclasses.replace(s, identity=UNKNOWN) for s in whole.train["infrared"][:3]]
    dataset = dataclasses.replace(
        whole, train={**whole.train, "infrared": nameless + whole.train["infrared"][3:]}
    )
    with pytest.raises(DataError, match=r"--labels infrared where identities are unknown: .* 3 of ") as error:
        dataset.identities("infrared")
    assert nameless[0].path in str(error.value) and "--labels none" in str(error.value)
    assert len(dataset.identities("visible")) == len(whole.train["visible"])
    one = dataclasses.replace(
        whole,
        train={
            **whole.train,
            "visible": [dataclasses.replace(s, identity=7) for s in whole.train["visible"]],
        },
    )
    with pytest.raises(DataError, match="one identity"):
        one.identities("visible")


def test_another_value_does_not_continue_a_run(flags, tmp_path, data, capsys):
    write_run(tmp_path / "run", data["sysu"], tmp_path / "cache", method="baseline", shallow=False)
    line = ["--method", "baseline", "--no-shallow", "-a", "resnet_mini", "--labels", "visible"]
    assert train_program.main(flags("sysu", *line)) == 2
    assert "--labels: 'none' then, 'visible' now" in capsys.readouterr().err


def test_a_config_file_may_name_them(tmp_path):
    (tmp_path / "c.json").write_text('{"labels": "infrared"}')
    settings, origin, _ = parse(["--method", "pgm", "--config", str(tmp_path / "c.json")], "x", "")
    assert settings.run.labels == "infrared" and origin["labels"] == "config file"


# ------------------------------------------------------------------ every result says so


def test_every_table_page_and_card_says_what_was_read(data, tmp_path, capsys):
    assert supervision("none") == ""
    words = supervision("visible")
    assert words == "semi-supervised: visible identities"
    cache = tmp_path / "cache"
    kind = {"method": "baseline", "shallow": False}
    labelled, plain = tmp_path / "labelled", tmp_path / "plain"
    write_run(labelled, data["sysu"], cache, labels="visible", **kind)
    write_run(plain, data["sysu"], cache, **kind)
    capsys.readouterr()
    for folder, said in ((labelled, True), (plain, False)):
        where = ["-d", "sysu", "--data-dir", data["sysu"], "--cache-dir", cache, "--logs-dir", folder]
        assert test_program.main([*map(str, where), "--method", "baseline", "--report", "none"]) == 0
        shown = capsys.readouterr().out
        assert all((words in line) == said for line in shown.splitlines() if "-search " in line)
        for name in ("test.json", "test.md", "test.tex"):
            assert (words in (folder / name).read_text()) == said, name
        assert all(
            (words in row["protocol"]) == said for row in json.loads((folder / "test.json").read_text())
        )
        page = write_report(folder, embed=False).read_text().lower()
        assert (f"{words}.</p>" in page) == said and (f"{words} were read by training" in page) == said
        export(TrainedModel.open(folder), folder / "export", formats=("safetensors",))
        card = (folder / "export/MODEL_CARD.md").read_text()
        assert (words in card) == said and ("without identity labels" in card) != said
        assert (words.encode() in (folder / "export/model.safetensors").read_bytes()) == said
    written = write_comparison([labelled, plain], tmp_path / "both.html")
    assert all(words in path.read_text() for path in written)
    with written[-1].open() as file:
        assert sum(words in row["protocol"] for row in csv.DictReader(file)) == 2


# ------------------------------------------------------------------ the other side is never read


class Guarded:
    """A training image whose identity raises unless the display of label quality reads it."""

    displaying = False

    def __init__(self, sample):
        self.path, self.camera, self.modality, self.hidden = (
            sample.path,
            sample.camera,
            sample.modality,
            sample.identity,
        )

    @property
    def identity(self):
        assert Guarded.displaying, f"training read the identity of {self.path}"
        return self.hidden


def trained(flags, monkeypatch, logs, change, *more):
    """The state after a run on training samples that `change` made: modality -> samples."""

    def opened(*arguments, **named):
        dataset = open_dataset(*arguments, **named)
        return dataclasses.replace(dataset, train={m: change(m, s) for m, s in dataset.train.items()})

    @contextlib.contextmanager
    def displaying():
        Guarded.displaying = True
        yield
        Guarded.displaying = False

    def read_for_display(self, samples, _original=LabelQuality.__init__):
        with displaying():
            _original(self, samples)

    with monkeypatch.context() as patched:
        patched.setattr(train_program, "open_dataset", opened)
        patched.setattr(LabelQuality, "__init__", read_for_display)
        assert train_program.main(flags("sysu", *more, *QUICK, "--logs-dir", str(logs))) == 0
    return state(logs)


def permuted(samples):
    ids = np.random.default_rng(0).permutation([s.identity for s in samples]).tolist()
    return [dataclasses.replace(s, identity=i) for s, i in zip(samples, ids)]


def same(one, other):
    return all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.mark.long
@pytest.mark.parametrize(
    "method,labels",
    [
        ("sdcl", "none"),
        ("baseline", "visible"),
        ("adca", "infrared"),
        ("pgm", "visible"),
        ("hil", "infrared"),
        ("dccl", "infrared"),
        ("taa", "visible"),
    ],
)
def test_identities_that_labels_does_not_name_are_not_read(flags, tmp_path, monkeypatch, method, labels):
    more = ["--method", method, "--labels", labels]
    unread = MODALITIES if labels == "none" else (other(labels),)

    def guard(modality, samples):
        return [Guarded(s) for s in samples] if modality in unread else samples

    def shuffle(modality, samples):
        return permuted(samples) if modality in unread else samples

    guarded = trained(flags, monkeypatch, tmp_path / "guarded", guard, *more)
    shuffled = trained(flags, monkeypatch, tmp_path / "shuffled", shuffle, *more)
    assert same(guarded, shuffled)
    if labels != "none":
        other_labels = trained(
            flags, monkeypatch, tmp_path / "moved", lambda m, s: permuted(s) if m == labels else s, *more
        )
        assert not same(guarded, other_labels)  # the labelled side is read
