"""A small workspace: six people in both modalities, a model of random weights, the page's test client."""

import pytest
from helpers import raw_trees
from helpers.checkpoints import run_folder
from starlette.testclient import TestClient

from sdcl.app.folders import AllowedFolders
from sdcl.app.server import create_app
from sdcl.app.workspace import Workspace
from sdcl.inference.options import EmbeddingOptions
from sdcl.inference.trained_model import TrainedModel

PEOPLE, SHOTS = 6, 2
ADDRESS = "http://127.0.0.1:8050"
OPTIONS = EmbeddingOptions(device="cpu", workers=1)


@pytest.fixture(scope="session")
def images(tmp_path_factory):
    """DIR/{visible,infrared}/cam{1,3}/PERSON_SHOT.png, an empty folder,
    and one outside of what is allowed.
    """
    root = tmp_path_factory.mktemp("images")
    for person in range(PEOPLE):
        for camera, modality in ((1, "visible"), (3, "infrared")):
            for shot in range(SHOTS):
                path = root / "in" / modality / f"{person:02d}" / f"cam{camera}_2024050{shot + 1}.png"
                raw_trees.picture(path, person, (shot, 7), modality == "infrared")
    (root / "in" / "empty").mkdir()
    raw_trees.picture(root / "outside" / "secret.png", 1, (1, 1), False)
    return root


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    return run_folder(tmp_path_factory.mktemp("weights") / "run")


@pytest.fixture
def workspace(images, weights, tmp_path):
    made = Workspace(
        TrainedModel.open(weights),
        AllowedFolders([images / "in"]),
        tmp_path / "store",
        OPTIONS,
        queries=images / "in" / "infrared",
        labelled=True,
    )
    yield made
    made.close()


@pytest.fixture
def client(workspace):
    """A browser that has opened the printed address."""
    made = TestClient(create_app(workspace), base_url=ADDRESS, headers={"origin": ADDRESS})
    token = made.app.state.token
    assert made.get(f"/?token={token}").status_code == 200
    return made


@pytest.fixture
def filled(workspace, images):
    """The workspace with a gallery of visible images, number 1."""
    workspace.add(images / "in" / "visible", "visible")
    workspace.wait()
    assert workspace.galleries[1].state == "ready", workspace.galleries[1].message
    return workspace
