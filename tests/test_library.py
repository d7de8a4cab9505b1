"""The library as its user writes it: public names only, NumPy or torch, from outside the repository."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import raw_trees
from helpers.checkpoints import run_folder

import sdcl


def test_import_is_light():
    code = (
        "import sys, sdcl; "
        "print([n for n in ('torch', 'numpy', 'scipy', 'PIL') if n in sys.modules], dir(sdcl))"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.startswith("[] ") and "TrainedModel" in printed


def test_every_public_name_is_documented():
    for name in sdcl.__all__:
        assert getattr(sdcl, name).__doc__, name
    assert Path(sdcl.__file__).with_name("py.typed").is_file()
    with pytest.raises(AttributeError):
        sdcl.nothing  # noqa: B018


def test_from_a_run_to_ranked_people(tmp_path):
    data = raw_trees.sysu(tmp_path / "sysu", train=(1, 2), val=(5,), test=(3, 4), images=2)
    run = run_folder(tmp_path / "run")

    dataset = sdcl.open_dataset("sysu", data)
    trained = sdcl.TrainedModel.open(run)
    features = {m: trained.embed([s.path for s in samples], m) for m, samples in dataset.test.items()}
    results = sdcl.evaluate(features, dataset.test, dataset.protocols())

    assert all(rows.shape == (len(dataset.test[m]), 384) for m, rows in features.items())
    assert all(0 <= result.metrics.mAP <= 1 for result in results) and results


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy])
def test_pseudo_labels_of_any_features(kind):
    people = np.random.default_rng(0).normal(size=(4, 16)).repeat(10, 0)
    features = (people + 0.1 * np.random.default_rng(1).normal(size=people.shape)).astype(np.float32)
    labels = sdcl.pseudo_labels(kind(features), k1=8, k2=3, eps=0.5)
    assert labels.num_clusters == 4 and (labels.ids == np.arange(4).repeat(10)).all()
    distance = sdcl.jaccard_distance(kind(features), k1=8, k2=3)
    assert distance.shape == (40, 40)


def test_metrics_of_any_similarity():
    similarity = np.array([[0.9, 0.1, 0.5], [0.2, 0.8, 0.1]], np.float32)
    metrics = sdcl.rank_metrics(similarity, [0, 1], [0, 1, 1], distinct_identities=False)
    assert metrics.r1 == 1.0 and 0 < metrics.mAP <= 1


def test_embeddings_of_a_folder(tmp_path):
    raw_trees.picture(tmp_path / "images" / "1" / "a.png", 1, (0,))
    trained = sdcl.TrainedModel.open(run_folder(tmp_path / "run"))
    embeddings = sdcl.embed_folder(trained, tmp_path / "images", "infrared")
    assert embeddings.paths == ["1/a.png"] and embeddings.rows.shape == (1, 384)


def test_errors_of_a_user_have_one_class(tmp_path):
    with pytest.raises(sdcl.UserError):
        sdcl.TrainedModel.open(tmp_path / "absent.pt")
