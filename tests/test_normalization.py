"""Mean and deviation of a weight reach every image that enters the network: in training, tests, reports, and
after export, where `sdcl embed` and `sdcl search` see the pixels that training saw.
"""

import json
import shutil

import pytest
import torch
from helpers.small_runs import SHARED
from safetensors import safe_open
from safetensors.torch import save_file

from sdcl import TrainedModel, open_dataset
from sdcl import test as test_program
from sdcl import train as train_program
from sdcl.cli import embed, export, report, search
from sdcl.data.normalization import CLIP, HALF, IMAGENET, KEY, from_metadata, to_metadata
from sdcl.inference.embeddings import load_embeddings
from sdcl.models.factory import build_model, single_stem_backbone
from sdcl.models.vit import DualBranchViT
from sdcl.models.weight_formats import load_weights
from sdcl.runtime import checkpoint

# Pixels that enter the network are those of the files but for crop, flip and black padding, so that they can
# be recognised; clustering resizes images as tests and `embed` do.
VISIBLE_PIXELS = (
    "--color-jitter 0 --erase 0 --no-second-view --no-infrared-gray --resize-extract lanczos --epochs 1"
).split()


class Seen:
    """Images that enter a ViT: (modality, whether in a training step, pixels)."""

    def __init__(self, monkeypatch):
        self.images = []
        forward = DualBranchViT.forward

        def noting(model, images, *args, **kwargs):
            self.images += [(m, model.training, x.detach().clone()) for m, x in images.items()]
            return forward(model, images, *args, **kwargs)

        monkeypatch.setattr(DualBranchViT, "forward", noting)

    def take(self):
        images, self.images = self.images, []
        assert images
        return images


def are_pixels(images, normalization):
    """Whether every value is a grey level 0 .. 255 that was normalised so."""
    mean, std = torch.tensor((normalization.mean, normalization.std)).view(2, 3, 1, 1)
    levels = [(x * std + mean) * 255 for _, _, x in images]
    return all(
        ((v - v.round()).abs() < 1e-3).all() and v.min() > -1e-3 and v.max() < 255 + 1e-3 for v in levels
    )


def write_weight(path, normalization):
    torch.manual_seed(0)
    save_file(single_stem_backbone("vit_mini", 32, 16).state_dict(), path, to_metadata(normalization))


@pytest.fixture(scope="module")
def clip_run(data, tmp_path_factory):
    """A run of one epoch from a weight of CLIP's pixels, what entered its network, and its flags."""
    place = tmp_path_factory.mktemp("clip")
    write_weight(place / "clip.safetensors", CLIP)
    common = ["-d", "sysu", "--data-dir", str(data["sysu"]), "--cache-dir", str(place / "cache")]
    flags = [*common, *SHARED, *VISIBLE_PIXELS, "--pretrained", str(place / "clip.safetensors")]
    flags += ["--k1", "8", "--logs-dir", str(place / "run"), "--report", "none"]
    with pytest.MonkeyPatch.context() as patch:
        seen = Seen(patch)
        assert train_program.main(flags) == 0
        return place, flags, seen.take()


def test_training_sees_the_pixels_of_its_weight(clip_run):
    place, _, seen = clip_run
    assert {(m, training) for m, training, _ in seen} >= {
        (m, t) for m in ("visible", "infrared") for t in (True, False)
    }
    assert are_pixels(seen, CLIP) and not are_pixels(seen, IMAGENET)
    assert "(CLIP), as the file says" in (place / "run/log.txt").read_text()
    assert checkpoint.load(place / "run/last.pt")[KEY] == CLIP.plain()


def test_embed_after_export_sees_the_same_pixels(clip_run, data, tmp_path, monkeypatch, capsys):
    place, _, trained_on = clip_run
    arguments = ["--weights", str(place / "run"), "--out", str(tmp_path / "out"), "--format", "safetensors"]
    assert export.main(arguments) == 0, capsys.readouterr().err
    exported = tmp_path / "out/model.safetensors"
    with safe_open(exported, "pt") as file:
        assert from_metadata(file.metadata()) == CLIP
    assert "0.481455 0.457827 0.408211" in (tmp_path / "out/MODEL_CARD.md").read_text()
    samples = open_dataset("sysu", str(data["sysu"]), allow_incomplete=True).train["visible"]
    for number, sample in enumerate(samples):
        (tmp_path / "images").mkdir(exist_ok=True)
        shutil.copy(sample.path, tmp_path / f"images/{number:04}.jpg")
    seen = Seen(monkeypatch)
    line = [
        "--weights",
        exported,
        "--images",
        tmp_path / "images",
        "--modality",
        "visible",
        "--batch-size",
        64,
    ]
    line += ["--device", "cpu"]
    assert embed.main([str(x) for x in [*line, "--out", tmp_path / "v.npz"]]) == 0, capsys.readouterr().err
    embedded = torch.cat([x for _, _, x in seen.take()])
    extracted = [x for m, training, x in trained_on if m == "visible" and not training]
    # A batch of 64 and its flips, then the rest and theirs; --calibrate-necks took them all at once.
    first = next(i for i, x in enumerate(extracted) if len(x) == 64 and torch.equal(x, embedded[:64]))
    assert torch.equal(torch.cat(extracted[first : first + 4]), embedded) and len(embedded) == 2 * len(
        samples
    )
    assert load_embeddings(tmp_path / "v.npz").about[KEY] == CLIP.plain()
    assert load_weights(build_model("vit_mini", height=32, width=16), exported).normalization == CLIP


@pytest.mark.long
def test_every_program_sees_the_pixels_of_the_weight(clip_run, data, tmp_path, monkeypatch, capsys):
    place, flags, _ = clip_run
    seen, run, device = Seen(monkeypatch), str(place / "run"), ["--device", "cpu"]
    samples = open_dataset("sysu", str(data["sysu"]), allow_incomplete=True).test
    assert test_program.main([*flags[:6], "--logs-dir", run, *device, "--report", "none"]) == 0
    assert are_pixels(seen.take(), CLIP)
    places = [samples[m][0].path for m in ("infrared", "visible")]
    line = ["--query", places[0], "--gallery", places[1], "--weights", run, "--out", str(tmp_path / "r.json")]
    line += ["--query-modality", "infrared", "--gallery-modality", "visible", *device]
    assert search.main(line) == 0, capsys.readouterr().err
    assert are_pixels(seen.take(), CLIP)
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    assert report.main([str(folder), *device]) == 0, capsys.readouterr().err
    assert are_pixels(seen.take(), CLIP)
    trained = TrainedModel.open(run)
    trained.embed(places, "visible")
    trained.embed(torch.full((1, 3, 32, 16), 0.2), "visible")
    assert trained.normalization == CLIP and are_pixels(seen.take(), CLIP)


def test_the_test_program_refuses_other_pixels(clip_run, capsys):
    place, flags, _ = clip_run
    line = [*flags[:6], "--logs-dir", str(place / "run"), "--device", "cpu", "--report", "none"]
    assert test_program.main([*line, *"--mean 0.5 0.5 0.5 --std 0.5 0.5 0.5".split()]) == 2
    error = capsys.readouterr().err
    assert (
        "was trained with pixels of" in error and "(CLIP)" in error and "leave --mean and --std out" in error
    )


def test_embeddings_of_other_pixels_are_not_compared(clip_run, data, tmp_path, capsys):
    """The same tensors in a checkpoint of ImageNet's pixels are another model."""
    place, _, _ = clip_run
    state = checkpoint.load(place / "run/last.pt")
    del state[KEY]
    (tmp_path / "old").mkdir()
    checkpoint.save(tmp_path / "old", checkpoint.LAST, state)
    assert TrainedModel.open(tmp_path / "old").normalization == IMAGENET
    image = open_dataset("sysu", str(data["sysu"]), allow_incomplete=True).test["visible"][0].path
    for name, weights in (("a", place / "run"), ("b", tmp_path / "old")):
        line = ["--weights", weights, "--images", image, "--modality", "visible", "--device", "cpu"]
        assert embed.main([str(x) for x in [*line, "--out", tmp_path / f"{name}.npz"]]) == 0
    line = ["--query", tmp_path / "a.npz", "--gallery", tmp_path / "b.npz", "--out", tmp_path / "r.json"]
    assert search.main([str(x) for x in line]) == 2
    assert "cannot be compared: normalization" in capsys.readouterr().err


@pytest.mark.long
def test_a_checkpoint_of_earlier_versions_continues_with_imagenets_pixels(
    clip_run, tmp_path, monkeypatch, capsys
):
    """It was trained with them, although its pretrained file says CLIP's by now."""
    place, flags, _ = clip_run
    state = checkpoint.load(place / "run/last.pt")
    del state[KEY], state["settings"]["mean"], state["settings"]["std"]
    (tmp_path / "run").mkdir()
    checkpoint.save(tmp_path / "run", checkpoint.LAST, state)
    seen = Seen(monkeypatch)
    more = [*flags, "--logs-dir", str(tmp_path / "run"), "--epochs", "2", "--eval-step", "0"]
    chosen = "--mean 0.4815 0.4578 0.4082 --std 0.2686 0.2613 0.2758".split()
    assert train_program.main([*more, *chosen]) == 2
    assert "--mean: () then, (0.4815, 0.4578, 0.4082) now" in capsys.readouterr().err
    assert train_program.main(more) == 0
    assert "pixels stay normalised as in the checkpoint" in capsys.readouterr().out
    assert are_pixels(seen.take(), IMAGENET)
    assert checkpoint.load(tmp_path / "run/last.pt")[KEY] == IMAGENET.plain()


def test_chosen_pixels_reach_the_checkpoint(clip_run, tmp_path, monkeypatch, capsys):
    _, flags, _ = clip_run
    seen, chosen = Seen(monkeypatch), "--mean 0.5 0.5 0.5 --std 0.5 0.5 0.5".split()
    random = ["--pretrained", "none", "--iters", "1", "--eval-step", "0", "--logs-dir", str(tmp_path / "run")]
    assert train_program.main([*flags, *random, *chosen]) == 0
    assert are_pixels(seen.take(), HALF) and str(HALF) in capsys.readouterr().out
    assert checkpoint.load(tmp_path / "run/last.pt")[KEY] == HALF.plain()
    assert json.loads((tmp_path / "run/config.json").read_text())["mean"] == [0.5, 0.5, 0.5]
