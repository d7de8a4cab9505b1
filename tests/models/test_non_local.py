"""The two-stream ResNet with non-local blocks against the released arrays;
the block against its definition.
"""

import numpy as np
import pytest
import torch
from helpers import parity
from helpers.recipe import released
from torchvision.models import resnet50

from sdcl.models.factory import build_model
from sdcl.models.non_local import NonLocalBlock
from sdcl.models.weight_formats import load_weights

SHORT = {"visible": "rgb", "infrared": "ir"}


def same(found, expected, tolerance):
    """Relative to the largest entry."""
    np.testing.assert_allclose(found.detach(), expected, atol=tolerance * np.abs(expected).max())


@parity.recorded("agw_bmil")
def test_released_network(arrays, tmp_path):
    state, images, _ = released(arrays)
    torch.save(state, tmp_path / "agw.pth")
    with pytest.raises(ValueError, match="use --arch resnet50_nl"):
        load_weights(build_model("resnet50", height=288, width=144), tmp_path / "agw.pth")
    model = build_model("resnet50_nl", height=288, width=144)
    report = load_weights(model, tmp_path / "agw.pth", 1.0)
    assert len([n for n in report.loaded if "non_local" in n]) == len(
        [n for n in state if n.startswith("NL_") and "num_" not in n]
    )
    model.eval()
    with torch.no_grad():
        out = model(images)
    for m, s in SHORT.items():
        np.testing.assert_allclose(out[m]["deep"], arrays[f"eval_{s}"], atol=1e-6)
    model.train()
    out = model(images)
    for m, s in SHORT.items():
        same(out[m]["deep"], arrays[f"train_{s}"], 5e-3)
    for theirs, ours in (
        ("bottleneck", model.neck),
        ("NL_2_0_W_1", model.non_local["layer2"][0].norm),
        ("NL_3_2_W_1", model.non_local["layer3"][2].norm),
    ):
        same(ours.running_mean, arrays[f"train_after_{theirs}_running_mean"], 5e-3)
        same(ours.running_var, arrays[f"train_after_{theirs}_running_var"], 5e-3)


def test_imagenet_file_loads_and_the_blocks_start_as_the_identity(tmp_path):
    torch.save(resnet50().state_dict(), tmp_path / "imagenet.pth")
    plain, with_blocks = (build_model(arch, height=64, width=32) for arch in ("resnet50", "resnet50_nl"))
    for model in (plain, with_blocks):
        assert load_weights(model, tmp_path / "imagenet.pth", 1.0).share == 1.0
    images = {m: torch.randn(2, 3, 64, 32) for m in SHORT}
    for training in (True, False):
        out, expected = (model.train(training)(images) for model in (with_blocks, plain))
        for m in SHORT:
            assert torch.equal(out[m]["deep"], expected[m]["deep"])
    with_blocks.train()(images)["visible"]["deep"].sum().backward()
    assert with_blocks.non_local["layer3"][0].norm.weight.grad.abs().max() > 0  # the identity can be left


@pytest.mark.parametrize("width", [1, 3])
def test_block_equals_its_definition(width):
    block = NonLocalBlock(5, width).eval()
    torch.nn.init.normal_(block.norm.weight)
    maps = torch.randn(2, 5, 4, 3)
    theta, phi, g = (layer(maps).flatten(2) for layer in (block.theta, block.phi, block.g))
    y = torch.zeros(2, width, 12)
    for p in range(12):
        for q in range(12):
            y[:, :, p] += (theta[:, :, p] * phi[:, :, q]).sum(1, keepdim=True) / 12 * g[:, :, q]
    expected = maps + block.norm(block.project(y.view(2, width, 4, 3)))
    torch.testing.assert_close(block(maps), expected)
