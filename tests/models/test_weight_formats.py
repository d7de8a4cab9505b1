"""Every weight format by its own names, and the files that must be refused."""

import argparse
import pickle

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save_file

from sdcl.config import resolve
from sdcl.data.normalization import CLIP, HALF, IMAGENET, KEY, Normalization, to_metadata
from sdcl.models.factory import build_model, single_stem_backbone
from sdcl.models.pretrained import pretrained_model
from sdcl.models.weight_formats import load_weights, read_tensors
from sdcl.runtime.errors import WeightError


def mini(**kwargs):
    return build_model("vit_mini", height=96, width=48, **kwargs)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: s,
        lambda s: {"model": s},
        lambda s: {f"base.{k}": v for k, v in s.items()},
        lambda s: {
            "teacher": {f"module.backbone.{k}": v for k, v in s.items()},
            "args": argparse.Namespace(arch="vit", lr=1.0),
        },
        lambda s: {"state_dict": s, "epoch": 3, "best_mAP": np.float64(0.5), "rank1": np.float32(0.5)},
    ],
)
def test_single_stem_vit(tmp_path, wrap):
    """TransReID-SSL's names: one stem fills both, the last block and norm fill both heads, the embedding
    is resized.
    """
    state = single_stem_backbone("vit_mini", 64, 32).state_dict()
    torch.save(wrap(state), tmp_path / "w.pth")
    model = mini()
    report = load_weights(model, tmp_path / "w.pth")
    assert report.share == 1.0 and "ICS" in report.format and report.resized
    ours = model.state_dict()
    for m in ("visible", "infrared"):
        assert torch.equal(ours[f"stems.{m}.conv.0.weight"], state["patch_embed.conv.0.weight"])
    for b in ("deep", "shallow"):
        assert torch.equal(ours[f"heads.{b}.block.mlp.fc1.weight"], state["blocks.3.mlp.fc1.weight"])
        assert torch.equal(ours[f"heads.{b}.norm.weight"], state["norm.weight"])
    assert torch.equal(ours["blocks.2.attn.qkv.weight"], state["blocks.2.attn.qkv.weight"])


def test_safetensors_with_prefix(tmp_path):
    state = single_stem_backbone("vit_mini", 96, 48).state_dict()
    save_file({f"module.{k}": v for k, v in state.items()}, tmp_path / "w.safetensors")
    assert load_weights(mini(), tmp_path / "w.safetensors").share == 1.0


def test_scores_pickled_by_numpy_1(tmp_path):
    """NumPy 1 named the maker of a number numpy.core.multiarray.scalar, NumPy 2 says numpy._core; both
    must open.
    """
    torch.save({"state_dict": {"conv1.weight": torch.ones(2)}, "best": np.float64(0.5)}, tmp_path / "new.pth")
    torch.save(
        {"state_dict": {"conv1.weight": torch.ones(2)}, "best": np.float64(0.5)},
        tmp_path / "old.pth",
        _use_new_zipfile_serialization=False,
    )
    content = (tmp_path / "old.pth").read_bytes()
    swapped = content.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")
    if swapped == content:  # written by NumPy 1 itself
        swapped = content.replace(b"cnumpy.core.multiarray\n", b"cnumpy._core.multiarray\n")
    assert swapped != content
    (tmp_path / "old.pth").write_bytes(swapped)
    assert all(list(read_tensors(tmp_path / f)) == ["conv1.weight"] for f in ("new.pth", "old.pth"))


def test_timm_vit(tmp_path):
    import timm

    donor = timm.create_model("vit_small_patch16_224", pretrained=False)
    save_file(donor.state_dict(), tmp_path / "timm.safetensors")
    model = build_model("vit_small_plain", height=288, width=144)
    report = load_weights(model, tmp_path / "timm.safetensors")
    assert (
        report.share == 1.0
        and "plain" in report.format
        and sorted(report.ignored) == ["head.bias", "head.weight"]
    )
    assert torch.equal(model.stems["infrared"].proj.weight, donor.patch_embed.proj.weight)


@pytest.mark.parametrize("prefix", ["", "module.encoder_q."])
def test_torchvision_and_luperson_resnet(tmp_path, prefix):
    from torchvision.models import resnet50

    donor = resnet50(weights=None)
    torch.save({f"{prefix}{k}": v for k, v in donor.state_dict().items()}, tmp_path / "r50.pth")
    model = build_model("resnet50", height=288, width=144)
    assert load_weights(model, tmp_path / "r50.pth").share == 1.0
    assert torch.equal(model.stems["infrared"].conv1.weight, donor.conv1.weight)
    assert torch.equal(model.layer4[2].conv3.weight, donor.layer4[2].conv3.weight)
    assert model.layer4[0].conv2.stride == (1, 1)


def test_checkpoint_of_this_project(tmp_path):
    donor = mini()
    torch.save({"model": donor.state_dict(), "epoch": 3, "settings": {}}, tmp_path / "last.pt")
    model = mini()
    assert load_weights(model, tmp_path / "last.pt").share == 1.0
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), donor.state_dict().values()))


def test_other_architecture_is_refused_and_leaves_the_model_alone(tmp_path):
    from torchvision.models import resnet18

    torch.save(resnet18(weights=None).state_dict(), tmp_path / "r18.pth")
    torch.save(single_stem_backbone("vit_tiny", 96, 48).state_dict(), tmp_path / "tiny.pth")
    for arch, file, kind in (
        ("vit_mini", "r18.pth", "ResNet"),
        ("vit_mini", "tiny.pth", "ViT"),
        ("resnet50", "tiny.pth", "ViT"),
    ):
        model = build_model(arch, height=96, width=48)
        before = {k: v.clone() for k, v in model.state_dict().items()}
        fitting = {"r18.pth": "resnet_mini", "tiny.pth": "vit_tiny"}[file]
        with pytest.raises(
            ValueError,
            match=rf"(?s){file}.*--min-loaded.*{kind}.*fills 100% of --arch {fitting};.*--pretrained",
        ):
            load_weights(model, tmp_path / file)
        assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


class Malicious:
    def __reduce__(self):
        return (open, ("pwned", "w"))


def test_files_that_are_no_weights(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evil.pth").write_bytes(pickle.dumps({"state_dict": Malicious()}))
    torch.save({"state_dict": Malicious()}, tmp_path / "evil2.pth")
    (tmp_path / "text.pth").write_text("hello")
    (tmp_path / "text.safetensors").write_text("hello")
    torch.save({"epoch": 3}, tmp_path / "empty.pth")
    (tmp_path / "zero.pth").touch()
    for name in (
        "zero.pth",
        "evil.pth",
        "evil2.pth",
        "text.pth",
        "text.safetensors",
        "empty.pth",
        "absent.pth",
    ):
        with pytest.raises(ValueError, match=name):
            read_tensors(tmp_path / name)
    assert not (tmp_path / "pwned").exists()


def test_torchvision_weight_comes_from_its_cache(tmp_path, monkeypatch):
    """The loader's cached file is used as it is; without network and cache the message names the place."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    settings, _ = resolve({"method": "adca", "pretrained": "torchvision"})
    monkeypatch.setattr(
        torch.hub, "download_url_to_file", lambda *_, **__: (_ for _ in ()).throw(OSError("no network"))
    )
    with pytest.raises(ValueError, match="resnet50-0676ba61"):
        pretrained_model(settings)
    network = torchvision.models.resnet50()
    (tmp_path / "hub/checkpoints").mkdir(parents=True, exist_ok=True)
    torch.save(network.state_dict(), tmp_path / "hub/checkpoints/resnet50-0676ba61.pth")
    model, said = pretrained_model(settings)
    assert torch.equal(model.layer3[2].conv2.weight, network.layer3[2].conv2.weight) and "loaded" in said
    with pytest.raises(ValueError, match="vit_base"):
        pretrained_model(resolve({"pretrained": "torchvision"})[0])


# ------------------------------------------------------------------ normalisation


def weight_of(path, normalization):
    state = single_stem_backbone("vit_mini", 96, 48).state_dict()
    save_file(state, path, {} if normalization is None else to_metadata(normalization))
    return {"arch": "vit_mini", "height": 96, "width": 48, "pretrained": str(path)}


@pytest.mark.parametrize(
    ("of_file", "given", "wanted", "said"),
    [
        (None, None, IMAGENET, "the file does not say otherwise"),
        (None, HALF, HALF, "of --mean and --std"),
        (CLIP, None, CLIP, "as the file says"),
        (CLIP, Normalization((0.481, 0.458, 0.408), (0.269, 0.261, 0.276)), CLIP, "as the file says"),
    ],
)
def test_pixels_are_those_of_the_weight(tmp_path, of_file, given, wanted, said):
    settings = weight_of(tmp_path / "w.safetensors", of_file)
    if given:
        settings |= {"mean": given.mean, "std": given.std}
    model, loaded = pretrained_model(resolve(settings)[0])
    assert model.normalization == wanted and str(wanted) in loaded and said in loaded


def test_flags_that_contradict_the_file_are_refused(tmp_path):
    settings = weight_of(tmp_path / "w.safetensors", CLIP)
    given = resolve(settings | {"mean": HALF.mean, "std": HALF.std})[0]
    with pytest.raises(
        WeightError, match=r"w\.safetensors was trained .*\(CLIP\).*--std say mean 0\.5 .*leave --mean"
    ):
        pretrained_model(given)


def test_a_normalisation_that_cannot_be_is_refused(tmp_path):
    state = single_stem_backbone("vit_mini", 96, 48).state_dict()
    for text in ("[1]", "{", '{"mean": [89.9, 79.2, 80.1], "std": [63.9, 64.3, 63.8]}'):
        save_file(state, tmp_path / "w.safetensors", {KEY: text})
        with pytest.raises(WeightError, match=r"w\.safetensors.*normalisation cannot be used"):
            load_weights(mini(), tmp_path / "w.safetensors")
