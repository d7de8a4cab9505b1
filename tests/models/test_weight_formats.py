"""Every weight format by its own names, and the files that must be refused."""

import argparse
import json
import pickle

import numpy as np
import pytest
import timm
import torch
import torchvision
from safetensors.torch import load_file, save_file
from torchvision.models.resnet import BasicBlock, ResNet

from sdcl.config import resolve
from sdcl.data.normalization import CLIP, HALF, IMAGENET, KEY, LUPERSON, Normalization, to_metadata
from sdcl.models.factory import build_model, single_stem_backbone
from sdcl.models.pretrained import pretrained_model
from sdcl.models.vit import grid_of_count
from sdcl.models.weight_files import WeightFile
from sdcl.models.weight_formats import load_weights, read_tensors
from sdcl.models.weight_names import format_of
from sdcl.runtime.errors import WeightError


def mini(**kwargs):
    return build_model("vit_mini", height=96, width=48, **kwargs)


def resnet_mini():
    """torchvision's tensors of the shape of --arch resnet_mini."""
    return ResNet(BasicBlock, [1, 1, 1, 1]).state_dict()


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
    torch.save(resnet_mini(), tmp_path / "r.pth")
    torch.save(single_stem_backbone("vit_mini", 96, 48).state_dict(), tmp_path / "mini.pth")
    for arch, file, kind in (
        ("vit_mini", "r.pth", "ResNet"),
        ("vit_tiny", "mini.pth", "ViT"),
        ("resnet50", "mini.pth", "ViT"),
    ):
        model = build_model(arch, height=96, width=48)
        before = {k: v.clone() for k, v in model.state_dict().items()}
        fitting = {"r.pth": "resnet_mini", "mini.pth": "vit_mini"}[file]
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


ROUNDED = Normalization((0.481, 0.458, 0.408), (0.269, 0.261, 0.276))  # CLIP's


def weight_of(path, normalization, arch):
    state = single_stem_backbone(arch, 96, 48).state_dict()
    save_file(state, path, {} if normalization is None else to_metadata(normalization))
    return {"arch": arch, "height": 96, "width": 48, "pretrained": str(path)}


@pytest.mark.parametrize(
    ("arch", "of_file", "given", "wanted", "said"),
    [
        ("vit_mini_plain", None, None, IMAGENET, "the file does not say otherwise"),
        ("vit_mini_plain", None, HALF, HALF, "of --mean and --std"),
        ("vit_mini", None, None, IMAGENET, "of files of this format"),
        ("vit_mini", None, HALF, HALF, "of --mean and --std; files of this format usually have mean 0.485"),
        ("vit_mini", CLIP, None, CLIP, "as the file says"),
        ("vit_mini", CLIP, ROUNDED, CLIP, "as the file says"),
    ],
)
def test_pixels_are_those_of_the_weight(tmp_path, arch, of_file, given, wanted, said):
    settings = weight_of(tmp_path / "w.safetensors", of_file, arch)
    if given:
        settings |= {"mean": given.mean, "std": given.std}
    model, loaded = pretrained_model(resolve(settings)[0])
    assert model.normalization == wanted and str(wanted) in loaded and said in loaded


def test_flags_that_contradict_the_file_are_refused(tmp_path):
    """What this project wrote into a file, and timm's pretrained_cfg beside one."""
    settings = weight_of(tmp_path / "w.safetensors", CLIP, "vit_mini")
    given = {"mean": LUPERSON.mean, "std": LUPERSON.std}
    with pytest.raises(
        WeightError, match=r"(?s)w\.safetensors was .*\(CLIP\).*say mean 0\.3525 .*leave --mean"
    ):
        pretrained_model(resolve(settings | given)[0])
    settings = weight_of(tmp_path / "w.safetensors", None, "vit_mini_plain")
    (tmp_path / "config.json").write_text(json.dumps(HALF_CONFIG))
    with pytest.raises(
        WeightError,
        match=(
            r"pixels of mean 0\.5 0\.5 0\.5.*as config\.json says.*"
            r"say mean 0\.3525 .*correct .*config\.json"
        ),
    ):
        pretrained_model(resolve(settings | given)[0])
    (tmp_path / "config.json").write_text(json.dumps(LUPERSON_CONFIG))  # as it says
    assert pretrained_model(resolve(settings | given)[0])[0].normalization == LUPERSON


def test_a_config_in_the_file_is_not_overruled_by_one_beside_it(tmp_path):
    """The message says so, and what it advises helps."""
    settings = weight_of(tmp_path / "w.safetensors", None, "vit_mini_plain")
    inside = {"pretrained_cfg": json.dumps(HALF_CONFIG["pretrained_cfg"])}
    save_file(load_file(tmp_path / "w.safetensors"), tmp_path / "w.safetensors", metadata=inside)
    (tmp_path / "config.json").write_text(json.dumps(LUPERSON_CONFIG))
    given = {"mean": LUPERSON.mean, "std": LUPERSON.std}
    with pytest.raises(
        WeightError, match=r"as the metadata of w\.safetensors says.*save its tensors alone.*not overrule"
    ):
        pretrained_model(resolve(settings | given)[0])
    save_file(load_file(tmp_path / "w.safetensors"), tmp_path / "alone.safetensors")
    alone = {"pretrained": str(tmp_path / "alone.safetensors")}
    assert pretrained_model(resolve(settings | given | alone)[0])[0].normalization == LUPERSON


def test_a_normalisation_that_cannot_be_is_refused(tmp_path):
    state = single_stem_backbone("vit_mini", 96, 48).state_dict()
    for text in ("[1]", "{", '{"mean": [89.9, 79.2, 80.1], "std": [63.9, 64.3, 63.8]}'):
        save_file(state, tmp_path / "w.safetensors", {KEY: text})
        with pytest.raises(WeightError, match=r"w\.safetensors.*normalisation cannot be used"):
            load_weights(mini(), tmp_path / "w.safetensors")


HALF_CONFIG = {
    "architecture": "vit_mini",
    "num_features": 192,
    "pretrained_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "input_size": [3, 96, 96]},
}


LUPERSON_CONFIG = {**HALF_CONFIG, "pretrained_cfg": LUPERSON.plain()}


def single_stem(arch="vit_mini_plain", height=96, width=48):
    return single_stem_backbone(arch, height, width).state_dict()


def test_normalization_of_timms_config_beside_the_file(tmp_path):
    """As the hub lays it out; of another weight (another number of features) it is not read."""
    save_file(single_stem(height=96, width=96), tmp_path / "model.safetensors")
    model = build_model("vit_mini_plain", height=96, width=48)
    report = load_weights(model, tmp_path / "model.safetensors")
    assert report.normalization is None and "--mean" in report.summary()
    (tmp_path / "config.json").write_text(json.dumps(HALF_CONFIG))
    report = load_weights(model, tmp_path / "model.safetensors")
    assert report.normalization == HALF and "config.json" in report.summary()
    assert report.resized == ["pos_embed of 6 x 6 patches to 6 x 3"]
    for other in ({**HALF_CONFIG, "num_features": 384}, {"mean": "?", "std": 1}, ["x"]):
        (tmp_path / "config.json").write_text(json.dumps(other))
        assert load_weights(model, tmp_path / "model.safetensors").normalization is None
    (tmp_path / "config.json").write_text("{")
    assert load_weights(model, tmp_path / "model.safetensors").normalization is None


@pytest.mark.parametrize(
    ("arch", "config"),
    [
        ("vit_mini", HALF_CONFIG),  # timm has no ICS stem
        ("vit_mini_plain", {**HALF_CONFIG, "architecture": "vit_mini_patch14_224"}),
        ("vit_mini_plain", {"model_cfg": {}, "preprocess_cfg": HALF_CONFIG["pretrained_cfg"]}),  # of a CLIP
    ],
)
def test_a_config_of_another_weight_in_the_same_folder_is_not_read(tmp_path, arch, config):
    torch.save(single_stem(arch), tmp_path / "w.pth")
    name = "open_clip_config.json" if "preprocess_cfg" in config else "config.json"
    (tmp_path / name).write_text(json.dumps(config))
    report = load_weights(build_model(arch, height=96, width=48), tmp_path / "w.pth")
    assert report.normalization in (IMAGENET, None) and not report.stated


def test_normalization_of_timms_config_in_the_metadata(tmp_path):
    config = {"pretrained_cfg": json.dumps(HALF_CONFIG["pretrained_cfg"])}
    save_file(single_stem(), tmp_path / "w.safetensors", metadata=config)
    report = load_weights(build_model("vit_mini_plain", height=96, width=48), tmp_path / "w.safetensors")
    assert report.normalization == HALF


def test_a_config_says_the_grid_where_the_number_does_not(tmp_path):
    """144 patches are 18 x 8 of person crops and 12 x 12 of a square."""
    save_file(single_stem(height=192, width=192), tmp_path / "w.safetensors")
    model = build_model("vit_mini_plain", height=288, width=128)
    assert not load_weights(model, tmp_path / "w.safetensors").resized
    config = {"pretrained_cfg": {**HALF_CONFIG["pretrained_cfg"], "input_size": [3, 192, 192]}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    report = load_weights(model, tmp_path / "w.safetensors")
    assert report.resized == ["pos_embed of 12 x 12 patches to 18 x 8"]


@pytest.mark.parametrize(
    ("prefix", "classifier", "expected"),
    [("module.encoder_q.", 0, LUPERSON), ("", 1000, IMAGENET), ("", 0, None)],
)
def test_normalization_of_resnets(tmp_path, prefix, classifier, expected):
    """MoCo's wrapper is LUPerson's, ImageNet's classes are torchvision's or timm's;
    flat names alone do not tell.
    """
    state = {f"{prefix}{k}": v for k, v in resnet_mini().items() if k[:3] != "fc."}
    if classifier:
        state["fc.weight"] = torch.zeros(classifier, 512)
    torch.save(state, tmp_path / "r.pth")
    report = load_weights(build_model("resnet_mini", height=64, width=32), tmp_path / "r.pth", 0.5)
    assert report.normalization == expected
    assert ("--mean 0.3525" in report.summary()) == (expected is None)


def test_normalization_of_vits(tmp_path):
    for arch, expected in (("vit_mini", IMAGENET), ("dinov2_mini", IMAGENET), ("clip_mini", CLIP)):
        torch.save(single_stem(arch, 112, 56 if arch == "dinov2_mini" else 48), tmp_path / "w.pth")
        model = build_model(arch, height=112, width=56 if arch == "dinov2_mini" else 48)
        assert load_weights(model, tmp_path / "w.pth").normalization == expected


# ------------------------------------------------------------------ files of other networks


@pytest.mark.parametrize(
    ("arch", "theirs", "cause"),
    [
        ("vit_mini_plain", "dinov2_mini", "patches are 14 pixels wide, the network's 16.*LayerScale"),
        ("dinov2_mini", "vit_mini_plain", "patches are 16 pixels wide, the network's 14.*no LayerScale"),
        ("vit_mini_plain", "clip_mini", "a norm before the first block"),
        ("vit_mini", "vit_mini_plain", "it has plain patches, the network an ICS stem"),
    ],
)
def test_another_form_of_vit_is_refused_by_its_parts(tmp_path, arch, theirs, cause):
    """Most tensors fit, and the features would be wrong."""
    torch.save(single_stem(theirs, 112, 112), tmp_path / "w.pth")
    model = build_model(arch, height=112, width=112)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(WeightError, match=rf"w\.pth.*{cause}.*Use --arch {theirs},"):
        load_weights(model, tmp_path / "w.pth", 0.1)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


@pytest.mark.parametrize(
    ("arch", "name", "cause"),
    [
        ("resnet_mini", "layer3.1.conv1.weight", "it has 2 blocks in layer3, the network 1"),
        ("vit_mini_plain", "blocks.4.norm1.weight", "it has 5 blocks, the network 4"),
    ],
)
def test_a_deeper_network_is_refused(tmp_path, arch, name, cause):
    """ResNet-101 fills all of a ResNet-50, without its last blocks."""
    state = resnet_mini() if arch == "resnet_mini" else single_stem(arch)
    torch.save({**state, name: torch.zeros(192)}, tmp_path / "w.pth")
    with pytest.raises(WeightError, match=rf"{cause}\. No --arch has this form"):
        load_weights(build_model(arch, height=96, width=48), tmp_path / "w.pth")


def test_positions_of_a_narrow_grid_that_was_pretrained_here(tmp_path):
    """12 x 4 patches and the class token are as many as 7 x 7 patches."""
    state = single_stem(height=192, width=64)
    save_file(state, tmp_path / "w.safetensors", metadata={"sdcl.pretrain": "{}"})
    model = build_model("vit_mini_plain", height=192, width=64)
    assert not load_weights(model, tmp_path / "w.safetensors").resized
    assert torch.equal(model.pos_embed, state["pos_embed"])


def test_registers_need_an_architecture_with_as_many(tmp_path):
    state = single_stem("dinov2_mini", 84, 42)
    torch.save({**state, "reg_token": torch.zeros(1, 4, 192)}, tmp_path / "w.pth")
    with pytest.raises(WeightError, match=r"4 registers, the network none\. No --arch has this form"):
        load_weights(build_model("dinov2_mini", height=84, width=42), tmp_path / "w.pth")


def test_an_activation_that_a_config_says(tmp_path):
    torch.save(single_stem("clip_mini"), tmp_path / "w.pth")
    model = build_model("clip_mini", height=96, width=48)
    assert "clip_base_gelu" in load_weights(model, tmp_path / "w.pth").summary()
    about = {"architecture": "vit_base_patch16_clip_quickgelu_224", **HALF_CONFIG["pretrained_cfg"]}
    (tmp_path / "config.json").write_text(json.dumps(about))
    assert "clip_base_gelu" not in load_weights(model, tmp_path / "w.pth").summary()
    (tmp_path / "config.json").write_text(json.dumps({"model_cfg": {}, "preprocess_cfg": {}}))
    with pytest.raises(WeightError, match="its activation is GELU, as its config says"):
        load_weights(model, tmp_path / "w.pth")


def test_an_embedding_that_is_no_rectangle(tmp_path):
    state = single_stem()
    torch.save({**state, "pos_embed": torch.zeros(1, 1 + 23, 192)}, tmp_path / "w.pth")
    with pytest.raises(WeightError, match=r"w\.pth.*23 patches is no rectangle"):
        load_weights(build_model("vit_mini_plain", height=96, width=48), tmp_path / "w.pth")


@pytest.mark.parametrize(
    ("n", "grid"), [(128, (16, 8)), (196, (14, 14)), (1369, (37, 37)), (210, (21, 10)), (192, (24, 8))]
)
def test_grid_of_a_number_of_patches(n, grid):
    assert grid_of_count(n) == grid


@pytest.mark.parametrize("arch", ["vit_mini_plain", "vit_mini", "resnet_mini"])
def test_a_stem_of_four_channels(tmp_path, arch):
    state = resnet_mini() if arch == "resnet_mini" else single_stem(arch)
    first = {"resnet_mini": "conv1.weight", "vit_mini": "patch_embed.conv.0.weight"}
    name = first.get(arch, "patch_embed.proj.weight")
    torch.save({**state, name: state[name].repeat(1, 2, 1, 1)[:, :4]}, tmp_path / "w.pth")
    with pytest.raises(WeightError, match=r"w\.pth.*takes 4 channels, and images have 3.*--pretrained"):
        load_weights(build_model(arch, height=96, width=48), tmp_path / "w.pth", 0.1)


def test_torchscript_is_refused_with_how_to_convert(tmp_path):
    torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(1, 2)).save(tmp_path / "ViT-B-16.pt")
    with pytest.raises(
        WeightError, match=r"(?s)ViT-B-16\.pt is a TorchScript archive.*torch\.jit\.load\('ViT-B-16"
    ):
        load_weights(mini(), tmp_path / "ViT-B-16.pt")


REFUSED_NAMES = {
    "Swin": ["patch_embed.proj.weight", "layers.0.blocks.0.attn.relative_position_bias_table"],
    "SOLIDER": ["backbone.stages.0.blocks.0.attn.w_msa.qkv.weight"],
    "DINOv3": ["cls_token", "storage_tokens", "rope_embed.periods", "blocks.0.attn.qkv.weight"],
    "names of the transformers library": ["embeddings.cls_token", "encoder.layer.0.norm1.weight"],
    "CLIP with a ResNet": ["visual.conv1.weight", "visual.attnpool.positional_embedding"],
    "text side of CLIP": ["token_embedding.weight", "positional_embedding", "ln_final.weight"],
    "BEiT": ["cls_token", "patch_embed.proj.weight", "blocks.0.attn.relative_position_bias_table"],
    "SwiGLU": ["cls_token", "pos_embed", "patch_embed.proj.weight", "blocks.0.mlp.w12.weight"],
    "EVA-02": ["cls_token", "pos_embed", "patch_embed.proj.weight", "blocks.0.attn.q_bias"],
    "normalised queries": [
        "cls_token",
        "pos_embed",
        "patch_embed.proj.weight",
        "blocks.0.attn.q_norm.weight",
    ],
    "distilled DeiT": ["cls_token", "dist_token", "pos_embed", "patch_embed.proj.weight"],
    "SigLIP": ["pos_embed", "patch_embed.proj.weight", "attn_pool.latent"],
    "without a position embedding": ["cls_token", "patch_embed.proj.weight"],
    "resnet50d": ["conv1.0.weight", "bn1.weight", "layer1.0.conv1.weight"],
    "channel attention": ["conv1.weight", "layer1.0.conv1.weight", "layer1.0.se.fc1.weight"],
    "ConvNeXt": ["stem.0.weight", "stages.0.blocks.0.conv_dw.weight"],
}


@pytest.mark.parametrize("name", REFUSED_NAMES)
def test_known_networks_that_are_not_read(tmp_path, name):
    """By the names of their tensors: every one of them says what to take instead."""
    torch.save({tensor: torch.zeros(1, 1, 1, 1) for tensor in REFUSED_NAMES[name]}, tmp_path / "w.pth")
    with pytest.raises(
        WeightError, match=rf"w\.pth: it is of .*{name}.*no --arch reads: .*(read|take|--arch)"
    ):
        load_weights(mini(), tmp_path / "w.pth")


@pytest.mark.parametrize("name", ["vit_small_patch16_dinov3", "swin_tiny_patch4_window7_224", "resnet50d"])
def test_timms_own_names_of_refused_networks(name):
    with torch.device("meta"):
        state = timm.create_model(name).state_dict()
    what = {"v": "DINOv3", "s": "Swin", "r": "resnet50d"}[name[0]]
    with pytest.raises(WeightError, match=what):
        format_of(WeightFile(state, frozenset(state)))
