"""Models against the outputs of the released ones; weights enter through load_weights, under their released
names.
"""

import numpy as np
import pytest
import torch
from helpers import parity
from helpers.recipe import released

from sdcl.inference.extract import joined
from sdcl.models.factory import ARCHS, build_model
from sdcl.models.vit import ClassTokenBlock, ViTShape, make_block
from sdcl.models.weight_formats import load_weights, resize_pos_embed

SHORT = {"visible": "rgb", "infrared": "ir"}


@pytest.fixture
def vit(arrays, tmp_path, monkeypatch):
    state, images, about = released(arrays)
    monkeypatch.setitem(ARCHS, "fixture", ViTShape(about["embed_dim"], about["depth"], about["heads"]))
    height, width = about["image_hw"]
    model = build_model("fixture", height=height, width=width, drop_path=0.0)
    torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}}, tmp_path / "released.pth.tar")
    report = load_weights(model, tmp_path / "released.pth.tar", 1.0)
    assert report.share == 1.0 and not report.mismatched and not report.resized
    return model, images, about


def same(found, expected, relative):
    np.testing.assert_allclose(
        found.detach().numpy(), expected, atol=relative * np.abs(expected).max(), rtol=0
    )


@parity.recorded("vit_tiny", "vit_base")
def test_dual_branch_vit(vit, arrays):
    model, images, about = vit
    for key, shown in about["recipe_check"].items():
        if key.startswith("image"):
            np.testing.assert_allclose(
                images["visible" if "rgb" in key else "infrared"][0, 0, 0, :3], shown, rtol=1e-6
            )
    model.eval()
    with torch.no_grad():
        out = model(images)
        for m, s in SHORT.items():
            alone = model({m: images[m]})
            for b in ("deep", "shallow"):
                same(out[m][b], arrays[f"eval_{s}_{b}"], 5e-5)
                same(alone[m][b], arrays[f"eval_{s}_{b}"], 5e-5)
        if arrays.name == "vit_base":
            features = arrays.beside("vit_base_features")
            for m, s in SHORT.items():
                mirrored = model({m: images[m].flip(3)})[m]
                mean = {b: (out[m][b] + mirrored[b]) / 2 for b in mirrored}
                for b in mean:
                    same(mean[b], features[f"cluster_{s}_{b}"], 5e-5)
                same(joined(mean), features[f"test_{s}"], 5e-5)
    model.train()
    out = model(images)
    for m, s in SHORT.items():
        for b in ("deep", "shallow"):
            same(out[m][b], arrays[f"train_{s}_{b}"], 2e-4)
    state = model.state_dict()
    for theirs, ours in (
        ("bottleneck_running_mean", "heads.deep.neck.running_mean"),
        ("bottleneck_running_var", "heads.deep.neck.running_var"),
        ("bottlenecks_running_mean", "heads.shallow.neck.running_mean"),
        ("bottlenecks_running_var", "heads.shallow.neck.running_var"),
        ("base_patch_embed_conv_7_running_var", "stems.visible.conv.7.running_var"),
        ("base_patch_embed2_conv_1_BN_running_mean", "stems.infrared.conv.1.BN.running_mean"),
    ):
        same(state[ours], arrays[f"train_after_{theirs}"], 2e-4)


@parity.recorded("agw_sdcl", "agw_gur")
def test_agw_resnet(arrays, tmp_path):
    state, images, about = released(arrays)
    arch = {"agw_sdcl": "resnet50_ibn", "agw_gur": "resnet50"}[arrays.name]
    height, width = about["image_hw"]
    model = build_model(arch, height=height, width=width)
    torch.save(state, tmp_path / "agw.pth")
    assert load_weights(model, tmp_path / "agw.pth", 1.0).share == 1.0
    other = {"resnet50": "resnet50_ibn", "resnet50_ibn": "resnet50"}[arch]
    with pytest.raises(ValueError, match=f"use --arch {arch}$"):
        load_weights(build_model(other, height=height, width=width), tmp_path / "agw.pth", 0.1)
    model.eval()
    with torch.no_grad():
        out = model(images)
    for m, s in SHORT.items():
        np.testing.assert_allclose(out[m]["deep"], arrays[f"eval_{s}"], atol=1e-6)
    model.train()
    out = model(images)
    for m, s in SHORT.items():
        same(out[m]["deep"], arrays[f"train_{s}"], 5e-3)
    same(model.neck.running_mean, arrays["train_after_bottleneck_running_mean"], 5e-3)
    same(model.neck.running_var, arrays["train_after_bottleneck_running_var"], 5e-3)


@parity.recorded("pos_embed_resize", keys=r"resized_(\d+)x(\d+)")
def test_pos_embed_resize(arrays, key):
    height, width = map(int, key)
    resized = resize_pos_embed(torch.from_numpy(arrays["pos_embed"]), (height, width))
    np.testing.assert_allclose(resized, arrays[f"resized_{height}x{width}"], atol=1e-5)


def test_one_branch_and_one_modality():
    model = build_model("vit_mini", height=96, width=48, branches=("deep",))
    out = model({"infrared": torch.randn(3, 3, 96, 48)})
    assert (
        list(out) == ["infrared"]
        and list(out["infrared"]) == ["deep"]
        and out["infrared"]["deep"].shape == (3, 192)
    )
    assert not any("shallow" in n for n in model.state_dict())


def test_joint_batch_and_frozen_neck_bias():
    model = build_model("vit_mini", height=96, width=48)
    images = {m: torch.randn(4, 3, 96, 48) for m in SHORT}
    together, alone = model(images), model({"visible": images["visible"]})
    assert (
        together["visible"]["deep"] - alone["visible"]["deep"]
    ).abs().max() > 1e-3  # the neck sees both modalities
    frozen = [n for n, p in model.named_parameters() if not p.requires_grad]
    assert frozen == ["heads.deep.neck.bias", "heads.shallow.neck.bias"]


def test_infrared_stem_and_heads_begin_as_copies():
    state = build_model("vit_mini", height=96, width=48).state_dict()
    for name, value in state.items():
        if name.startswith("stems.visible."):
            assert torch.equal(value, state[name.replace("visible", "infrared")])
        if name.startswith("heads.deep."):
            assert torch.equal(value, state[name.replace("deep", "shallow")])


def test_bad_architecture_and_size_are_named():
    with pytest.raises(ValueError, match="--arch vit_huge"):
        build_model("vit_huge", height=288, width=144)
    with pytest.raises(ValueError, match="--height 100"):
        build_model("vit_base", height=100, width=48)


@pytest.mark.parametrize(
    "shape",
    [
        ViTShape(768, 12, 12),
        ViTShape(192, 4, 3, layer_scale=True, pre_norm=True, activation="quick_gelu"),
    ],
)
def test_class_token_block_is_the_first_token_of_the_whole_block(shape):
    """Values and gradients, and the same draws of stochastic depth; at ViT-B's own width."""
    torch.manual_seed(0)
    whole = make_block(shape, 0.3)
    short = make_block(shape, 0.3, ClassTokenBlock)
    short.load_state_dict(whole.state_dict())
    tokens = torch.randn(4, 163, shape.dim)
    for training in (False, True):
        found = []
        for block in (whole, short):
            block.train(training).zero_grad()
            x = tokens.clone().requires_grad_()
            torch.manual_seed(1)
            out = block(x)
            out = out[:, 0] if block is whole else out
            out.square().sum().backward()
            found.append((out.detach(), x.grad, *(p.grad for p in block.parameters())))
        for a, b in zip(*found):
            assert torch.allclose(a, b, rtol=1e-4, atol=1e-5 * float(a.abs().max()))
