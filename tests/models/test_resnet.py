"""The small ResNet behind the same interface, and batch statistics that leave no trace."""

import pytest
import torch

from sdcl.models.factory import build_model
from sdcl.models.replicas import frozen_running_stats


def images(*modalities):
    return {m: torch.randn(4, 3, 64, 32) for m in modalities}


def test_interface():
    model = build_model("resnet_mini", height=64, width=32)
    assert model.branches == ("deep",) and [
        n for n, p in model.named_parameters() if not p.requires_grad
    ] == ["neck.bias"]
    batch = images("infrared", "visible")  # the order of the dict must not matter
    together, alone = model(batch), model({"visible": batch["visible"]})
    assert {m: list(f) for m, f in together.items()} == {"visible": ["deep"], "infrared": ["deep"]}
    assert (
        together["visible"]["deep"] - alone["visible"]["deep"]
    ).abs().max() > 1e-3  # one joint batch in training
    model.eval()
    together, alone = model(batch), model({"visible": batch["visible"]})
    torch.testing.assert_close(together["visible"]["deep"], alone["visible"]["deep"])
    torch.testing.assert_close(together["infrared"]["deep"].norm(dim=1), torch.ones(4))


@pytest.mark.parametrize("arch", ["resnet_mini", "vit_mini"])
def test_frozen_running_stats(arch):
    model = build_model(arch, height=64, width=32, drop_path=0.0)
    batch = images("visible", "infrared")
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(RuntimeError, match="inside"), frozen_running_stats(model):
        frozen = model(batch)
        raise RuntimeError("inside")  # the layers must be themselves again after an error too
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    counted = model(batch)
    for m in batch:
        torch.testing.assert_close(frozen[m]["deep"], counted[m]["deep"])  # batch statistics in both
    changed = {k for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
    assert changed and changed == {
        k for k in before if k.endswith(("running_mean", "running_var", "num_batches_tracked"))
    }
