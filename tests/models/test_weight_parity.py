"""Features of timm's network equal ours, before the BN necks,
when its weights come in each format's names.
"""

import re

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.layers import QuickGELU, resample_abs_pos_embed
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from sdcl.models.factory import ARCHS, build_model
from sdcl.models.vit import ViTShape, resize_pos_embed
from sdcl.models.weight_formats import load_weights


def timm_vit(arch, height, width, positions="class and patches"):
    """timm's network of the same shape, every tensor drawn at random."""
    shape = ARCHS[arch]
    model = VisionTransformer(
        img_size=(height, width),
        patch_size=shape.patch,
        embed_dim=shape.dim,
        depth=shape.depth,
        num_heads=shape.heads,
        num_classes=0,
        init_values=1.0 if shape.layer_scale else None,
        reg_tokens=shape.registers,
        no_embed_class=positions == "patches",
        pre_norm=shape.pre_norm,
        act_layer=QuickGELU if shape.activation == "quick_gelu" else nn.GELU,
        norm_layer=lambda dim, **_: nn.LayerNorm(dim, eps=1e-5 if shape.pre_norm else 1e-6),
    )
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, p in model.named_parameters():
            centre = 1.0 if re.search(r"norm.*weight|gamma", name) else 0.0
            p.copy_(centre + 0.05 * torch.randn(p.shape, generator=generator))
    return model.eval()


@torch.no_grad()
def timm_features(model, images):
    """Deep and shallow class token after the last norm."""
    tokens = model.norm_pre(model._pos_embed(model.patch_embed(images)))
    trunk = model.blocks[:-1](tokens)
    inputs = {"deep": trunk, "shallow": torch.cat([trunk[:, :1], tokens[:, 1:]], 1)}
    features = {b: model.norm(model.blocks[-1](x))[:, 0] for b, x in inputs.items()}
    torch.testing.assert_close(features["deep"], model(images))  # timm's own forward
    return features


@torch.no_grad()
def our_features(model, images):
    """modality -> branch -> what enters the BN neck."""
    for neck in model.necks:  # the identity
        neck.eps = 0.0
    return model.eval()({m: images for m in ("visible", "infrared")})


def dinov2_names(state):
    """As its authors publish and, with the blocks in chunks, train."""
    result = {"mask_token": torch.zeros(1, state["cls_token"].shape[-1])}
    for name, value in state.items():
        result[re.sub(r"^blocks\.(\d+)\.", r"blocks.0.\1.", name)] = value
    if "reg_token" in result:
        first = torch.randn_like(result["cls_token"])
        result["register_tokens"] = result.pop("reg_token")
        result["pos_embed"] = torch.cat([first, result["pos_embed"]], 1)
        result["cls_token"] = result["cls_token"] - first
    return {f"backbone.{name}": value for name, value in result.items()}


def clip_names(state):
    """As OpenAI and open_clip name the visual tower, with some of the text side beside it."""
    swaps = (
        ("patch_embed.proj", "conv1"),
        ("norm_pre", "ln_pre"),
        (r"^norm\.", "ln_post."),
        (r"^blocks\.", "transformer.resblocks."),
        (r"\.norm([12])\.", r".ln_\1."),
        (r"attn\.qkv\.", "attn.in_proj_"),
        (r"attn\.proj\.", "attn.out_proj."),
        (r"mlp\.fc1", "mlp.c_fc"),
        (r"mlp\.fc2", "mlp.c_proj"),
    )
    result = {"token_embedding.weight": torch.randn(8, 64), "positional_embedding": torch.randn(77, 64)}
    for name, value in state.items():
        for pattern, new in swaps:
            name = re.sub(pattern, new, name)
        result[f"visual.{name}"] = value
    result["visual.class_embedding"] = result.pop("visual.cls_token")[0, 0]
    result["visual.positional_embedding"] = result.pop("visual.pos_embed")[0]
    result["visual.proj"] = torch.randn(192, 64)
    result["transformer.resblocks.0.ln_1.weight"] = torch.ones(64)
    return result


def personvit_names(state):
    """iBOT's teacher."""
    heads = {
        "module.head.mlp.0.weight": torch.ones(2, 2),
        "module.head.last_layer2.weight_v": torch.ones(2, 2),
    }
    return {"teacher": {**{f"module.backbone.{k}": v for k, v in state.items()}, **heads}, "epoch": 3}


SIZE = {16: (96, 48), 14: (84, 42)}
FORMATS = {
    "timm plain": ("vit_mini_plain", dict, "class and patches", "plain patches"),
    "PersonViT": ("vit_mini_plain", personvit_names, "class and patches", "PersonViT"),
    "timm DINOv2": ("dinov2_mini", dict, "class and patches", "DINOv2"),
    "DINOv2": ("dinov2_mini", dinov2_names, "class and patches", "DINOv2"),
    "timm DINOv2 with registers": ("registers", dict, "patches", "DINOv2"),
    "DINOv2 with registers": ("registers", dinov2_names, "patches", "DINOv2"),
    "timm DeiT III": ("deit3", dict, "patches", "plain patches"),
    "timm CLIP": ("clip_mini", dict, "class and patches", "CLIP"),
    "CLIP": ("clip_mini", clip_names, "class and patches", "CLIP"),
    "CLIP with GELU": ("clip_gelu", clip_names, "class and patches", "CLIP"),
}


@pytest.fixture(autouse=True)
def small_shapes(monkeypatch):
    """The forms that have no small architecture."""
    small = {"stem": "plain", "layer_scale": True}
    monkeypatch.setitem(ARCHS, "registers", ViTShape(192, 4, 3, patch=14, registers=4, **small))
    monkeypatch.setitem(ARCHS, "deit3", ViTShape(192, 4, 3, **small))
    monkeypatch.setitem(ARCHS, "clip_gelu", ViTShape(192, 4, 3, stem="plain", pre_norm=True))


@pytest.mark.parametrize("name", FORMATS)
def test_features_equal_timms(name, tmp_path):
    arch, names, positions, description = FORMATS[name]
    height, width = SIZE[ARCHS[arch].patch]
    donor = timm_vit(arch, height, width, positions)
    torch.save(names(donor.state_dict()), tmp_path / "w.pth")
    model = build_model(arch, height=height, width=width)
    report = load_weights(model, tmp_path / "w.pth", min_share=1.0)
    assert description in report.format and not report.missing and not report.mismatched
    images = torch.randn(3, 3, height, width, generator=torch.Generator().manual_seed(1))
    expected, found = timm_features(donor, images), our_features(model, images)
    for modality in found:
        for branch, values in expected.items():
            assert (values - found[modality][branch]).abs().max() < 1e-5


@pytest.mark.parametrize("arch", ["resnet50", "resnet50_nl"])
def test_timms_resnet(arch, tmp_path):
    """Maps after the last stage, whose stride the re-ID network leaves out;
    non-local blocks begin as the identity.
    """
    torch.manual_seed(0)
    donor = timm.create_model("resnet50", output_stride=32).eval()
    for module in donor.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            module.running_mean.normal_(0, 0.1)
    save_file(donor.state_dict(), tmp_path / "model.safetensors")
    model = build_model(arch, height=64, width=32).eval()
    report = load_weights(model, tmp_path / "model.safetensors", min_share=1.0)
    assert sorted(report.ignored) == ["fc.bias", "fc.weight"] and "timm" in report.format
    first = donor.layer4[0]
    first.conv2.stride = first.downsample[0].stride = (1, 1)
    images = torch.randn(2, 3, 64, 32)
    maps = []
    model.layer4[-1].register_forward_hook(lambda *args: maps.append(args[2]))
    with torch.no_grad():
        expected = donor.forward_features(images)
        model({"infrared": images})
    assert (expected - maps[0]).abs().max() < 1e-5 * max(1.0, float(expected.abs().max()))


def test_a_large_grid_is_filtered_as_timm_does():
    """DINOv2's 37 x 37 to 20 x 10."""
    embedding = torch.randn(1, 1 + 37 * 37, 8)
    ours = resize_pos_embed(embedding, (20, 10), antialias=True)
    theirs = resample_abs_pos_embed(embedding, (20, 10), (37, 37), interpolation="bilinear", antialias=True)
    torch.testing.assert_close(ours, theirs)
