"""The cache of decoded images: what it holds, when it is made anew, and the files that it refuses."""

import os
import threading

import numpy as np
import pytest
import torch
from helpers.imitated_gpu import CUDA, ImitatedGPU
from PIL import Image

from sdcl.data import image_cache
from sdcl.data.image_cache import build_cache, build_caches, cache_file, decode, open_cache
from sdcl.runtime.errors import DataError

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


def test_files_are_mapped_for_reading_alone(paths, tmp_path):
    """Linux refuses a private map that may be written if it is larger than the memory."""
    cache = open_cache(paths, 24, 12, "bicubic", tmp_path / "cache", CPU, workers=1, title="x")
    assert isinstance(cache.images, np.memmap) and not cache.images.flags.writeable
    assert cache.take(np.array([0])).add_(1).shape == (1, 24, 12, 3)  # batches are copies


@pytest.mark.filterwarnings("error")
def test_images_copied_to_a_gpu_in_parts(paths, tmp_path, monkeypatch):
    monkeypatch.setattr(image_cache, "COPIED", 4)
    path = build_cache(paths, 24, 12, "bicubic", tmp_path / "cache", 1, "x")
    rows = np.array([5, 0, 3])
    with ImitatedGPU():
        there = image_cache.open_file(path, CUDA).take(rows)
        assert there.device == CUDA
        taken = there.cpu().numpy()
    np.testing.assert_array_equal(taken, np.load(path)[rows])


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


@pytest.fixture
def decoded(monkeypatch):
    """Paths of the images that were decoded, in order."""
    seen, read_image = [], image_cache.read_image

    def recorded(source):
        seen.append(source)
        return read_image(source)

    monkeypatch.setattr(image_cache, "read_image", recorded)
    return seen


def test_two_filters_decode_each_image_once(paths, tmp_path, decoded):
    files = build_caches(paths, 24, 12, ("bilinear", "bicubic"), tmp_path / "cache", 2, "x")
    assert sorted(decoded) == sorted(paths)
    for resize, file in files.items():
        assert file == cache_file(paths, 24, 12, resize, tmp_path / "cache")
        np.testing.assert_array_equal(np.load(file), [decode(p, 24, 12, resize) for p in paths])
    assert not files["bilinear"].samefile(files["bicubic"])


def test_images_of_the_wanted_size_lie_on_the_disk_once(tmp_path):
    for i in range(3):
        Image.new("RGB", (12, 24), (i, 2, 3)).save(tmp_path / f"{i}.png")
    paths = [str(tmp_path / f"{i}.png") for i in range(3)]
    files = build_caches(paths, 24, 12, ("bilinear", "bicubic", "lanczos"), tmp_path / "cache", 2, "x")
    assert files["bilinear"].samefile(files["bicubic"]) and files["bilinear"].samefile(files["lanczos"])
    np.testing.assert_array_equal(np.load(files["lanczos"])[:, 0, 0], [(i, 2, 3) for i in range(3)])
    assert len(list((tmp_path / "cache").iterdir())) == 3


def test_of_two_at_the_same_moment_one_decodes(paths, tmp_path, decoded, capfd):
    together, found = threading.Barrier(2), []

    def build():
        together.wait()
        found.append(open_cache(paths, 24, 12, "bicubic", tmp_path / "cache", CPU, workers=1, title="x"))

    both = [threading.Thread(target=build) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join(60)
    assert sorted(decoded) == sorted(paths)
    one, other = (cache.images for cache in found)
    assert isinstance(one, np.memmap) and one.filename == other.filename  # whose pages are shared
    np.testing.assert_array_equal(one, [decode(p, 24, 12, "bicubic") for p in paths])
    assert len(list((tmp_path / "cache").iterdir())) == 1  # no lock, nothing half-written


def test_an_image_is_turned_upright(tmp_path):
    """A camera held sideways writes how to turn its image (EXIF) instead of turning it."""
    upright = Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 12, 3)).astype(np.uint8))
    how = Image.Exif()
    how[0x0112] = 6  # shown after a quarter turn clockwise
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "lying.png", exif=how)
    upright.save(tmp_path / "upright.png")
    lying, standing = (decode(str(tmp_path / f"{n}.png"), 24, 12, "bicubic") for n in ("lying", "upright"))
    np.testing.assert_array_equal(lying, standing)


def test_more_than_8_bits_are_refused(tmp_path):
    """Pillow would cut off all values above 255, which makes thermal images white."""
    pixels = np.random.default_rng(0).integers(0, 30000, (24, 12)).astype(np.uint16)
    Image.fromarray(pixels).save(tmp_path / "thermal.png")
    with pytest.raises(
        DataError, match=r"thermal\.png: it has more than 8 bits a pixel.*convert it to 8 bits"
    ):
        decode(str(tmp_path / "thermal.png"), 24, 12, "bicubic")


def test_text_that_is_called_an_image(tmp_path):
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(DataError, match=r"text\.png: no image of a format that is read"):
        decode(str(tmp_path / "text.png"), 24, 12, "bicubic")


def test_a_cache_of_another_decoding_is_not_taken(paths, tmp_path, monkeypatch):
    now = cache_file(paths, 24, 12, "bicubic", tmp_path)
    monkeypatch.setattr(image_cache, "DECODING", image_cache.DECODING + 1)
    assert cache_file(paths, 24, 12, "bicubic", tmp_path) != now
