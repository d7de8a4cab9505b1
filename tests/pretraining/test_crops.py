"""Crops: cameras and tracks of folders, and rendered tracks."""

import numpy as np
import pytest
import torch
from helpers import raw_trees
from helpers.crops import write_crops
from PIL import Image

from sdcl.datasets import open_dataset
from sdcl.pretraining.crops import (
    RenderSettings,
    dataset_crops,
    folder_crops,
    rendered_identities,
    rendered_tracks,
)
from sdcl.runtime.errors import DataError

CPU = torch.device("cpu")
RENDERING = RenderSettings(1, "easy", (32, 16))


def test_cameras_and_tracks_of_folders(tmp_path):
    write_crops(tmp_path / "crops")
    Image.new("RGB", (20, 40)).save(tmp_path / "crops" / "a" / "single.jpg")
    Image.new("RGB", (20, 40)).save(tmp_path / "crops" / "flat.jpg")
    crops = folder_crops([str(tmp_path / "crops")], 32, 16, tmp_path / "cache", CPU, 1)
    assert np.bincount(crops.camera).tolist() == [1, 7, 6]  # images in DIR itself, a, b
    assert sorted(np.bincount(crops.track)) == [1, 1, 2, 2, 2, 2, 2, 2]
    for track in np.unique(crops.track):
        assert len(set(crops.camera[crops.track == track])) == 1


@pytest.mark.parametrize("layout", ["vcm", "buptcampus"])
def test_tracks_of_a_data_set(tmp_path, layout):
    """Tracks of its training split; the visible and the infrared camera of one number are two."""
    root = raw_trees.tracks(tmp_path / layout, layout)
    crops = dataset_crops(layout, str(root), 32, 16, tmp_path / "cache", CPU, 1)
    train = open_dataset(layout, root).train
    samples = [s for m in ("visible", "infrared") for s in train[m]]
    assert len(crops) == len(samples) and crops.identity is None
    for numbers, names in (
        (crops.track, [(s.modality, s.track) for s in samples]),
        (crops.camera, [(s.modality, s.camera) for s in samples]),
    ):
        assert len(set(numbers)) == len(set(names)) == len(set(zip(numbers.tolist(), names)))
        assert set(numbers) == set(range(len(set(names))))


def test_a_data_set_without_tracks_is_refused(data, tmp_path):
    with pytest.raises(DataError, match="--dataset sysu is no set of tracks"):
        dataset_crops("sysu", str(data["sysu"]), 32, 16, tmp_path / "cache", CPU, 1)


@pytest.mark.parametrize("name", ["missing", "empty"])
def test_folders_without_images_are_refused(tmp_path, name):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=name):
        folder_crops([str(tmp_path / name)], 32, 16, tmp_path / "cache", CPU, 1)


def test_half_of_the_rendered_cameras_are_visible():
    crops = rendered_tracks(RENDERING, cameras=4, tracks=3, frames=2, identities=5, jobs=1, device=CPU)
    images = crops.images.take(np.arange(len(crops))).numpy()
    gray = np.ptp(images, axis=-1).max((1, 2)) == 0
    assert len(crops) == 4 * 3 * 2 and crops.identity is None
    assert [bool(gray[crops.camera == c].all()) for c in range(4)] == [False, False, True, True]
    assert (np.bincount(crops.track) == 2).all() and len(np.unique(crops.track)) == 12


def test_rendered_identities_are_labelled_and_reproducible():
    arguments = {"images": 3, "cameras": 4, "jobs": 1, "device": CPU}
    crops = rendered_identities(RENDERING, range(2, 4), "infrared", **arguments)
    assert crops.identity.tolist() == [0, 0, 0, 1, 1, 1]
    second = rendered_identities(RENDERING, range(3, 4), "infrared", **arguments)  # identity 3 alone
    assert np.array_equal(crops.images.take(np.arange(3, 6)), second.images.take(np.arange(3)))
