"""The options of `sdcl app`, refused before a server starts."""

import socket

import pytest
from helpers.checkpoints import run_folder

from sdcl.cli import app


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return run_folder(tmp_path_factory.mktemp("weights") / "run")


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("--gallery a b c --gallery-modality visible infrared", "names 2 for 3 galleries"),
        ("--gallery a --gallery-modality visible", "nothing at"),
        ("--port 70000", "between 0 and 65535"),
        ("--labelled", "name images with --reference"),
        ("--run none", "not a run folder"),
        ("--query none", "no folder of images"),
    ],
)
def test_bad_options(weights, tmp_path, monkeypatch, capsys, said, reason):
    monkeypatch.chdir(tmp_path)
    common = ["--weights", str(weights), "--device", "cpu", "--store", str(tmp_path / "store")]
    assert app.main([*common, *said.split()]) == 2
    assert reason in capsys.readouterr().err


def test_a_modality_is_asked_for(weights, tmp_path, capsys):
    (tmp_path / "day").mkdir()
    said = ["--weights", str(weights), "--device", "cpu", "--gallery", str(tmp_path / "day")]
    assert app.main(said) == 2 and "modality must be" in capsys.readouterr().err


def test_a_port_that_is_taken(weights, tmp_path, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        said = ["--weights", str(weights), "--device", "cpu", "--store", str(tmp_path), "--port", str(port)]
        assert app.main(said) == 2 and f"--port {port} cannot be used" in capsys.readouterr().err


def test_without_its_packages(weights, monkeypatch, capsys):
    find = app.importlib.util.find_spec
    monkeypatch.setattr(app.importlib.util, "find_spec", lambda n: None if n == "uvicorn" else find(n))
    assert app.main(["--weights", str(weights)]) == 2
    assert "pip install 'sdcl[app]'" in capsys.readouterr().err
