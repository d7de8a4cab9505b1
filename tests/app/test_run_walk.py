"""A run folder in the page: its epochs, clusters with purity, links, neighbours before and after."""

import numpy as np
import pytest
import torch
from helpers.run_folders import write_run
from starlette.testclient import TestClient

from sdcl.app.folders import AllowedFolders
from sdcl.app.run_walk import RunWalk
from sdcl.app.server import create_app
from sdcl.app.workspace import Workspace
from sdcl.datasets import open_dataset
from sdcl.inference.options import EmbeddingOptions
from sdcl.inference.trained_model import TrainedModel
from sdcl.runtime import checkpoint
from sdcl.runtime.errors import UserError

ADDRESS = "http://localhost:8050"


@pytest.fixture(scope="module")
def labelled(data, tmp_path_factory):
    """A run whose checkpoint clusters by identity, but for one visible image; the last infrared one is an
    outlier.
    """
    root = tmp_path_factory.mktemp("labelled")
    run = write_run(root / "run", data["sysu"], root / "cache")
    state = checkpoint.load(run / "last.pt")
    train = open_dataset("sysu", data["sysu"], allow_incomplete=True).train
    ids = {}
    for modality, samples in train.items():
        people = np.unique([s.identity for s in samples], return_inverse=True)[1]
        ids[modality] = people.astype(np.int32)
    ids["visible"][0] = ids["visible"][-1]
    ids["infrared"][-1] = -1
    ids["visible_associated"] = ids["visible"].copy()
    state["labels"] = {name: torch.from_numpy(labels) for name, labels in ids.items()}
    state.pop("label_sets", None)  # as in checkpoints of version 0.2
    checkpoint.save(run, checkpoint.LAST, state)
    return run, train


def opened(run, tmp_path, *allowed):
    options = EmbeddingOptions(device="cpu", workers=1)
    return Workspace(TrainedModel.open(run), AllowedFolders([run, *allowed]), tmp_path / "store", options)


@pytest.fixture
def client(labelled, data, tmp_path):
    workspace = opened(labelled[0], tmp_path, data["sysu"])
    walk = RunWalk(labelled[0], workspace)
    made = TestClient(create_app(workspace, walk), base_url=ADDRESS, headers={"origin": ADDRESS})
    made.get(f"/?token={made.app.state.token}")
    yield made
    workspace.close()


def test_epochs_clusters_and_links(client, labelled):
    train = labelled[1]
    about = client.get("/api/run").json()
    assert [row["epoch"] for row in about["epochs"]] == [0, 1] and about["recipe"] == "sdcl on sysu"
    (epoch,) = about["labelled"]
    assert epoch["file"] == "last.pt" and {s["name"] for s in epoch["sets"]} >= {"visible", "infrared"}
    found = client.get("/api/run/clusters?epoch=1&set=visible").json()
    people = len({s.identity for s in train["visible"]})
    assert found["total"] == people and sum(c["size"] for c in found["clusters"]) == len(train["visible"])
    mixed = found["clusters"][0]  # the largest: it holds an image of another person
    assert (
        mixed["people"] == 2 and mixed["purity"] == 1 - 1 / mixed["size"] and mixed["same"].count(False) == 1
    )
    assert all(c["purity"] == 1 for c in found["clusters"][1:])
    assert client.get("/api/run/clusters?epoch=1&set=infrared").json()["outliers"] == 1
    links = client.get("/api/run/links?epoch=1").json()
    assert links["total"] == people and links["links"][0]["right"] == mixed["purity"]
    assert client.get(f"/api/run/images/visible/{mixed['rows'][0]}").headers["content-type"] == "image/jpeg"


def test_a_loss_that_was_not_finite_is_shown_as_none(labelled, data, tmp_path):
    workspace = opened(labelled[0], tmp_path, data["sysu"])
    walk = RunWalk(labelled[0], workspace)
    walk.record.rows[0]["loss"] = float("nan")
    client = TestClient(create_app(workspace, walk, "token"), base_url=ADDRESS)
    client.get("/?token=token")
    assert client.get("/api/run").json()["epochs"][0]["loss"] is None
    workspace.close()


def test_neighbours_before_and_after_training(client):
    first = client.post("/api/run/neighbours?modality=visible&row=1").json()
    assert first["state"] in ("embedding", "ready")
    client.app.state.workspace.wait()
    found = client.post("/api/run/neighbours?modality=visible&row=1").json()
    assert found["state"] == "ready" and found["modality"] == "infrared"
    assert [n["name"] for n in found["lists"]] == ["before training", "after epoch 1"]
    for one in found["lists"]:
        similarity = [i["similarity"] for i in one["images"]]
        assert similarity == sorted(similarity, reverse=True) and all(
            i["same"] in (True, False) for i in one["images"]
        )
    assert found["lists"][0]["images"] != found["lists"][1]["images"]


def neighbours(workspace, walk):
    walk.neighbours("visible", 1)
    workspace.wait()
    return walk.neighbours("visible", 1)


@pytest.fixture
def after_sdcl(data, tmp_path):
    """A run of HIL and the SDCL run that it says it started from."""
    facts = {"cache_dir": tmp_path / "cache", "data_dir": data["sysu"]}
    start = write_run(tmp_path / "start", **facts)
    state = checkpoint.load(start / "last.pt")
    state["rows"] = [{"epoch": 1, "stage": "contrast"}]
    state["model"] = {name: value + 0.05 * (value.ndim > 1) for name, value in state["model"].items()}
    checkpoint.save(start, checkpoint.LAST, state)
    return start, write_run(tmp_path / "hil", **facts, method="hil", from_run=str(start))


def test_before_training_of_from_run_is_the_end_of_that_run(after_sdcl, data, tmp_path):
    start, run = after_sdcl
    workspace = opened(run, tmp_path, data["sysu"], start)
    found = neighbours(workspace, RunWalk(run, workspace))
    assert [one["name"] for one in found["lists"]] == ["before training", "after epoch 1"] and not found[
        "note"
    ]
    workspace.close()
    workspace = opened(start, tmp_path, data["sysu"])
    there = neighbours(workspace, RunWalk(start, workspace))["lists"][-1]["images"]
    assert found["lists"][0]["images"] == there != found["lists"][1]["images"]
    workspace.close()


def test_without_the_weights_before_training_those_after_it_are_shown(after_sdcl, data, tmp_path):
    run = after_sdcl[1]
    workspace = opened(run, tmp_path, data["sysu"])  # the folder of --from-run was not given
    found = neighbours(workspace, RunWalk(run, workspace))
    assert [one["name"] for one in found["lists"]] == ["after epoch 1"] and "--allow DIR" in found["note"]
    workspace.close()


@pytest.mark.parametrize(
    "address",
    [
        "/api/run/clusters?epoch=0&set=visible",
        "/api/run/clusters?epoch=1&set=none",
        "/api/run/images/visible/9999",
        "/api/run/images/thermal/0",
    ],
)
def test_what_is_not_there_is_said(client, address):
    answer = client.get(address)
    assert answer.status_code == 400 and answer.json()["error"]


def test_images_of_a_folder_that_was_not_given_are_not_shown(labelled, tmp_path):
    workspace = opened(labelled[0], tmp_path)
    walk = RunWalk(labelled[0], workspace)
    about = walk.overview()
    assert about["images"] is None and any("--data-dir" in note for note in about["notices"])
    assert walk.clusters(1, "visible", 0)["clusters"][0]["purity"] is None
    with pytest.raises(UserError, match="may not be read"):
        walk.image("visible", 0)
    workspace.close()
