"""Which paths may be read: below the given folders, with links resolved, and nothing else."""

import os

import pytest

from sdcl.app.folders import AllowedFolders
from sdcl.runtime.errors import DataError


@pytest.fixture
def place(tmp_path):
    for name in ("inside/deep", "outside", "inside-not"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "outside" / "secret.png").write_bytes(b"x")
    (tmp_path / "inside" / "deep" / "a.png").write_bytes(b"x")
    os.symlink(tmp_path / "outside", tmp_path / "inside" / "door")
    os.symlink(tmp_path / "outside" / "secret.png", tmp_path / "inside" / "link.png")
    os.symlink(tmp_path / "inside" / "circle", tmp_path / "inside" / "circle")
    return tmp_path


@pytest.mark.parametrize(
    "path",
    [
        "outside",
        "inside/../outside/secret.png",
        "inside/door/secret.png",
        "inside/link.png",
        "inside-not",
        "outside/none",
        "in\0side",
        "",
        "/",
    ],
)
def test_outside_is_refused(place, path):
    folders = AllowedFolders([place / "inside"])
    assert not folders.holds(place / path if path != "/" else "/")
    with pytest.raises(DataError, match="--allow DIR"):
        folders.require(place / path if path != "/" else "/")


def test_inside_is_read_also_through_links_that_stay_inside(place):
    os.symlink(place / "inside" / "deep", place / "inside" / "stays")
    folders = AllowedFolders([place / "inside"])
    assert folders.require(place / "inside" / "stays" / "a.png") == place / "inside" / "deep" / "a.png"
    assert folders.require(place / "outside" / ".." / "inside") == place / "inside"
    assert str(place / "inside" / "deep") in folders.suggestions()


def test_images_that_are_links_to_elsewhere_are_refused(place):
    folders = AllowedFolders([place / "inside"])
    folders.require_images(place / "inside", ["deep/a.png"])
    with pytest.raises(DataError, match="outside"):
        folders.require_images(place / "inside", ["deep/a.png", "link.png"])
    with pytest.raises(DataError, match="outside"):
        folders.require_images(place / "inside", ["door/secret.png"])
