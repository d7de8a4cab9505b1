"""Translations of visible images: by the formula, image by image, and in training and extraction alike."""

import shutil

import numpy as np
import pytest
import torch
from helpers.small_runs import state

from sdcl import train as train_program
from sdcl.config import resolve
from sdcl.data.image_cache import ImageCache
from sdcl.data.translation import TranslatedImages, Translation, gray, paths_in_folder, with_amplitudes
from sdcl.runtime.errors import DataError, SettingError

CPU = torch.device("cpu")


def images(count, seed=0, size=(12, 8)):
    return np.random.default_rng(seed).integers(60, 190, (count, *size, 3), np.uint8)


def smooth(count):
    """Images whose spectra can be exchanged without leaving 0 .. 255."""
    y, x = np.mgrid[:12, :8]
    waves = [100 + i + 20 * np.cos(2 * np.pi * (y / 12 + i * x / 8)) for i in range(count)]
    return np.stack(waves)[..., None].repeat(3, 3).astype(np.uint8)


def test_fourier_is_the_formula_frequency_by_frequency():
    own, other, share = images(1), smooth(1), 0.2
    found = with_amplitudes(torch.from_numpy(own), torch.from_numpy(other), [share])[0].numpy()
    for c in range(3):
        a, b = (np.fft.fft2(x[0, ..., c].astype(float)) for x in (own, other))
        for v in range(12):
            for h in range(8):
                if max(min(v, 12 - v), min(h, 8 - h)) <= int(share * 8):
                    a[v, h] = abs(b[v, h]) * np.exp(1j * np.angle(a[v, h]))
        expected = np.fft.ifft2(a).real.round().clip(0, 255)
        assert abs(found[..., c] - expected).max() <= 1  # rounding


def test_a_share_of_its_own_for_each_image():
    own, other = torch.from_numpy(images(2)), torch.from_numpy(smooth(2))
    both = with_amplitudes(own, other, [0.05, 0.3])
    for i, share in enumerate((0.05, 0.3)):
        assert torch.equal(both[i : i + 1], with_amplitudes(own[i : i + 1], other[i : i + 1], [share]))
    assert (both[0].float().mean((0, 1)) - other[0].float().mean((0, 1))).abs().max() < 1  # the mean is low


def test_gray_has_three_equal_channels():
    result = gray(torch.from_numpy(images(3)))
    assert result.dtype == torch.uint8 and result.shape == (3, 12, 8, 3)
    assert (result == result[..., :1]).all()
    expected = images(3).astype(float) @ [0.2989, 0.5870, 0.1140]
    assert np.abs(result[..., 0].numpy() - expected).max() <= 0.51


@pytest.mark.parametrize("kind", ["channel", "gray", "fourier", "folder:x"])
def test_extraction_translates_an_image_alike_in_any_batch(kind):
    cache, infrared, folder = (ImageCache(images(6, seed), CPU) for seed in (0, 1, 2))
    views = TranslatedImages(cache, Translation(kind, infrared, folder), seed=3)
    whole = views.take(np.arange(6))
    assert len(views) == 6 and whole.dtype == torch.uint8 and whole.shape == (6, 12, 8, 3)
    assert torch.equal(views.take(np.array([4, 1])), whole[[4, 1]])
    assert not torch.equal(whole, cache.take(np.arange(6)))
    if kind == "channel":
        assert all(
            any(torch.equal(view, image[..., c : c + 1].expand(12, 8, 3)) for c in range(3))
            for view, image in zip(whole, cache.take(np.arange(6)))
        )
    if kind.startswith("folder"):
        assert torch.equal(whole, folder.take(np.arange(6)))


def test_a_translation_that_does_not_exist_is_refused():
    for wrong in ("grey", "folder:", "folder"):
        with pytest.raises(SettingError, match="--translation must be channel, gray, fourier or folder:DIR"):
            resolve({"translation": wrong})


def test_missing_translated_images_are_named(tmp_path):
    (tmp_path / "data/cam1").mkdir(parents=True)
    paths = [str(tmp_path / f"data/cam1/{n}.jpg") for n in (1, 2)]
    (tmp_path / "made/cam1").mkdir(parents=True)
    (tmp_path / "made/cam1/1.jpg").touch()
    kind = f"folder:{tmp_path}/made"
    assert paths_in_folder(paths[:1], tmp_path / "data", kind) == [f"{tmp_path}/made/cam1/1.jpg"]
    with pytest.raises(DataError, match=r"lacks 1 of 2 visible training images(.|\n)*made/cam1/2.jpg"):
        paths_in_folder(paths, tmp_path / "data", kind)
    with pytest.raises(DataError, match="needs images below"):
        paths_in_folder(["/elsewhere/3.jpg"], tmp_path / "data", kind)


@pytest.mark.long
def test_training_reads_the_folder_and_refuses_one_that_lacks_images(flags, data, tmp_path, capsys):
    made = tmp_path / "made"
    shutil.copytree(data["sysu"], made)
    more = ["--method", "adca", "--epochs", "1", "--eval-step", "0", "--report", "none"]
    weights = []
    for kind in (f"folder:{made}", "gray"):
        logs = tmp_path / kind.partition(":")[0]
        assert train_program.main(flags("sysu", *more, "--translation", kind, "--logs-dir", str(logs))) == 0
        weights.append(state(logs))
    assert any(not torch.equal(value, weights[1][name]) for name, value in weights[0].items())
    next((made / "cam1").rglob("*.jpg")).unlink()
    capsys.readouterr()
    line = flags("sysu", *more, "--translation", f"folder:{made}", "--logs-dir", str(tmp_path / "again"))
    assert train_program.main(line) == 2
    assert "lacks" in capsys.readouterr().err
