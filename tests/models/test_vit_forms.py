"""Forms of ViTs beside TransReID-SSL's: plain patches, LayerScale,
registers, a norm before the blocks, QuickGELU.
"""

import pytest
import torch
from helpers.checkpoints import run_folder
from helpers.small_runs import rows
from safetensors.torch import save_file

from sdcl.cli import export
from sdcl.config import parse
from sdcl.models.factory import ARCHS, build_model, single_stem_backbone
from sdcl.models.vit import ViTShape
from sdcl.models.weight_formats import load_weights
from sdcl.reporting.attention import class_attention
from sdcl.runtime.errors import SettingError
from sdcl.train import main

SIZES = {
    "vit_mini_plain": (32, 16),
    "vit_mini_hybrid": (32, 16),
    "dinov2_mini": (42, 28),
    "clip_mini": (32, 16),
    "registers": (42, 28),
}


@pytest.fixture(autouse=True)
def registers(monkeypatch):
    """A small ViT with registers."""
    monkeypatch.setitem(
        ARCHS, "registers", ViTShape(192, 4, 3, "plain", patch=14, layer_scale=True, registers=4)
    )


def images(arch, count=4):
    generator = torch.Generator().manual_seed(0)
    return {m: torch.randn(count, 3, *SIZES[arch], generator=generator) for m in ("visible", "infrared")}


def built(arch, **options):
    torch.manual_seed(3)
    height, width = SIZES[arch]
    return build_model(arch, height=height, width=width, **options)


@pytest.mark.parametrize("arch", SIZES)
def test_a_step_with_and_without_recomputed_activations(arch):
    """Every tensor but the frozen biases of the necks has the same gradient, that of both branches."""
    gradients = []
    for recompute in (False, True):
        model = built(arch, drop_path=0.3).train()
        model.recompute = recompute
        features = model(images(arch))
        assert features["infrared"]["shallow"].shape == (4, model.feature_dim)
        sum(f.square().sum() for branches in features.values() for f in branches.values()).backward()
        assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
        gradients.append([p.grad for p in model.parameters() if p.requires_grad])
    assert all(torch.equal(a, b) for a, b in zip(*gradients))


@pytest.mark.parametrize("arch", SIZES)
def test_what_is_pretrained_is_what_is_trained(arch, tmp_path):
    """The class token of the single-stem ViT enters the BN neck of the deep head."""
    donor = single_stem_backbone(arch, *SIZES[arch]).eval()
    with torch.no_grad():
        for p in donor.parameters():
            p.add_(0.05 * torch.randn_like(p))
    save_file(donor.state_dict(), tmp_path / "w.safetensors", metadata={"sdcl.pretrain": "{}"})
    model = built(arch).eval()
    assert load_weights(model, tmp_path / "w.safetensors", 1.0).share == 1.0
    for neck in model.necks:
        neck.eps = 0.0
    with torch.no_grad():
        found = model(images(arch))["infrared"]["deep"]
        torch.testing.assert_close(found, donor(images(arch)["infrared"]), rtol=0, atol=1e-5)


@pytest.mark.parametrize("arch", SIZES)
def test_attention_is_on_the_patches(arch):
    model = built(arch)
    for by_name in class_attention(model, images(arch, 2)).values():
        assert len(by_name) == 3
        for shares in by_name.values():
            assert shares.shape == (2, *model.grid) and abs(shares.sum((1, 2)) - 1).max() < 1e-5


@pytest.mark.parametrize(
    ("height", "width", "fitting"),
    [(288, 144, "280 --width 140"), (96, 48, "84 --width 42"), (8, 8, "14 --width 14")],
)
def test_a_size_that_fits_a_patch_of_14_is_named(height, width, fitting):
    with pytest.raises(SettingError, match=f"--height {height} .*14 pixels, such as --height {fitting}"):
        build_model("dinov2_small", height=height, width=width)


def flags_of(arch):
    height, width = SIZES[arch]
    return ["-a", arch, "--height", str(height), "--width", str(width)]


@pytest.mark.parametrize("arch", [name for name, shape in ARCHS.items() if isinstance(shape, ViTShape)])
def test_settings_of_vits_are_read_by_every_one(arch):
    settings, _, _ = parse(["-a", arch, "--recompute", "--drop-path", "0.2"], "", "")
    assert settings.run.recompute and settings.model.drop_path == 0.2


@pytest.mark.long
@pytest.mark.parametrize("arch", SIZES)
def test_export(arch, tmp_path, capsys):
    """The graphs equal the network, or they are not written; the tensors load again."""
    pytest.importorskip("onnxruntime")
    run = run_folder(tmp_path / "run", 0, *flags_of(arch))
    assert export.main(["--weights", str(run), "--out", str(tmp_path / "out")]) == 0, capsys.readouterr().err
    assert load_weights(built(arch), tmp_path / "out" / "model.safetensors", 1.0).share == 1.0


@pytest.mark.long
@pytest.mark.parametrize("arch", SIZES)
def test_a_run_of_sdcl(arch, flags, tmp_path):
    recompute = [] if arch == "registers" else ["--recompute"]  # a name of this file alone
    assert main(flags("sysu", *flags_of(arch), *recompute, "--report", "none")) == 0
    assert [row["epoch"] for row in rows(tmp_path / "run")] == [0, 1]
