"""--recompute, --compile and --profile: the same step in less memory, compiled blocks, a trace."""

import dataclasses
import json

import pytest
import torch
from helpers.small_runs import rows

from sdcl.config import resolve
from sdcl.models.factory import build_model
from sdcl.models.pretrained import prepare_blocks
from sdcl.runtime.errors import SettingError
from sdcl.train import main


def step(recompute):
    """(gradients, bytes kept for them) of one forward and backward pass with stochastic depth."""
    torch.manual_seed(3)
    model = build_model("vit_tiny", height=64, width=32, drop_path=0.3).train()
    model.recompute = recompute
    images = {m: torch.randn(4, 3, 64, 32) for m in ("visible", "infrared")}
    kept = {}
    with torch.autograd.graph.saved_tensors_hooks(
        lambda t: kept.update({t.data_ptr(): t.numel() * t.element_size()}) or t, lambda t: t
    ):
        features = model(images)
    for p in model.parameters():  # weights are kept for the gradient, too, in either form
        kept.pop(p.data_ptr(), None)
    sum(f.square().sum() for branches in features.values() for f in branches.values()).backward()
    return [p.grad for p in model.parameters() if p.grad is not None], sum(kept.values())


def test_recomputed_gradients_are_the_same_in_less_memory():
    (plain, kept), (again, less) = step(False), step(True)
    assert len(plain) == len(again) and all(torch.equal(a, b) for a, b in zip(plain, again))
    assert less < 0.6 * kept


def test_blocks_are_compiled_when_asked():
    model = build_model("vit_mini", height=32, width=16)
    prepare_blocks(model, resolve({"compile": True, "arch": "vit_mini"})[0])
    assert all(block._compiled_call_impl is not None for block in model.blocks) and not model.recompute
    images = {"visible": torch.randn(2, 3, 32, 16)}
    model.eval()
    with torch.compiler.set_stance("force_eager"), torch.no_grad():
        compiled = model(images)["visible"]["deep"]
    plain = build_model("vit_mini", height=32, width=16).eval()
    plain.load_state_dict(model.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(compiled, plain(images)["visible"]["deep"])


@pytest.mark.parametrize("flag", ["recompute", "compile"])
def test_a_resnet_has_no_blocks(flag):
    settings = resolve({"arch": "resnet_mini"})[0]
    settings = dataclasses.replace(settings, run=dataclasses.replace(settings.run, **{flag: True}))
    with pytest.raises(SettingError, match="--recompute and --compile are for ViTs"):
        prepare_blocks(build_model("resnet_mini", height=32, width=16), settings)


def test_a_run_with_recomputation_and_a_trace(flags, tmp_path):
    assert (
        main(
            flags(
                "sysu",
                "--recompute",
                "--profile",
                "2",
                "--epochs",
                "1",
                "--eval-step",
                "0",
                "--report",
                "none",
            )
        )
        == 0
    )
    assert len(rows(tmp_path / "run")) == 1
    trace = json.loads((tmp_path / "run" / "trace.json").read_text())
    assert any("addmm" in event.get("name", "") for event in trace["traceEvents"])
