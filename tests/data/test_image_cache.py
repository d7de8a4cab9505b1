"""The cache of decoded images: what it holds, when it is made anew, and the files that it refuses."""

import os

import numpy as np
import pytest
import torch
from PIL import Image

from sdcl.data.image_cache import build_cache, cache_file, decode, open_cache

CPU = torch.device("cpu")


@pytest.fixture
def paths(tmp_path):
    folder = tmp_path / "images with spaces é"
    folder.mkdir()
    names = []
    for i in range(6):
        names.append(str(folder / f"{i}.jpg"))
        pixels = np.random.default_rng(i).integers(0, 256, (40 + i, 20, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(names[-1])
    return names


def test_cached_images_are_those_decoded_directly(paths, tmp_path):
    cache = open_cache(paths, 24, 12, "bicubic", tmp_path / "cache", CPU, workers=3, title="x")
    rows = np.array([4, 0, 4])
    taken = cache.take(rows).numpy()
    for row, image in zip(rows, taken):
        with Image.open(paths[row]) as original:
            expected = np.asarray(original.convert("RGB").resize((12, 24), Image.Resampling.BICUBIC))
        np.testing.assert_array_equal(image, expected)


def test_decoded_once_and_again_when_a_file_changes(paths, tmp_path):
    cache = tmp_path / "cache"
    first = build_cache(paths, 24, 12, "bilinear", cache, 2, "x")
    written = first.stat().st_mtime_ns
    assert (
        build_cache(paths, 24, 12, "bilinear", cache, 2, "x") == first and first.stat().st_mtime_ns == written
    )
    assert cache_file(paths, 24, 12, "lanczos", cache) != first
    Image.new("RGB", (50, 50)).save(paths[2])
    os.utime(paths[2], (1, 1))
    assert build_cache(paths, 24, 12, "bilinear", cache, 2, "x") != first


def test_truncated_and_foreign_files_are_all_named(paths, tmp_path):
    with open(paths[1], "r+b") as file:
        file.truncate(os.path.getsize(paths[1]) // 2)
    with open(paths[3], "wb") as file:
        file.write(b"not an image")
    with pytest.raises(ValueError) as error:
        build_cache(paths, 24, 12, "bilinear", tmp_path / "cache", 2, "x")
    assert paths[1] in str(error.value) and paths[3] in str(error.value) and paths[0] not in str(error.value)
    assert list((tmp_path / "cache").iterdir()) == []  # nothing half-written


def test_missing_file_is_named(paths, tmp_path):
    os.unlink(paths[5])
    with pytest.raises(ValueError, match=r"5\.jpg"):
        build_cache(paths, 24, 12, "bilinear", tmp_path / "cache", 2, "x")


def test_decompression_bomb_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    Image.new("RGB", (60, 60)).save(tmp_path / "big.png")
    with pytest.raises(ValueError, match=r"big\.png"):
        decode(str(tmp_path / "big.png"), 8, 4, "bilinear")
