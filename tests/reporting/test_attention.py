"""Attention read with hooks is what the model's own attention uses."""

import numpy as np
import pytest
import torch
from torch import nn

from sdcl.models.factory import build_model
from sdcl.reporting import attention


@pytest.fixture
def model():
    torch.manual_seed(0)
    made = build_model("vit_mini", height=32, width=16)
    for head in made.heads.values():  # different attention in each head
        nn.init.normal_(head.block.attn.qkv.weight, std=0.2)
    return made.eval()


def test_attention_reproduces_the_block(model):
    """softmax(q k^T / sqrt(d)) v, with v from the block itself, is what timm's attention gives."""
    tokens = torch.randn(2, 3, 192)
    for block in (model.blocks[1], model.heads["deep"].block):
        module = block.attn
        whole = module.qkv(block.norm1(tokens)).reshape(2, 3, 3, module.num_heads, 64)
        query, key, value = (whole[:, :, i].transpose(1, 2) for i in range(3))
        weights = (query @ key.transpose(2, 3) / 8).softmax(3)
        assert torch.allclose(
            module.proj((weights @ value).transpose(1, 2).reshape(2, 3, 192)),
            module(block.norm1(tokens)),
            atol=1e-5,
        )
        assert torch.allclose(weights.mean(1), attention.attention_of(block, tokens), atol=1e-6)


def test_a_map_for_each_branch_and_modality(model):
    images = {m: torch.randn(2, 3, 32, 16) for m in ("visible", "infrared")}
    before = {k: v.clone() for k, v in model.state_dict().items()}
    maps = attention.class_attention(model, images)
    assert set(maps) == {"visible", "infrared"} and set(maps["visible"]) == {
        "deep, last block",
        "shallow, last block",
        "deep, rollout",
    }
    for by_name in maps.values():
        for shares in by_name.values():
            assert (
                shares.shape == (2, 2, 1)
                and np.allclose(shares.sum((1, 2)), 1, atol=1e-5)
                and (shares >= 0).all()
            )
    assert not np.allclose(maps["visible"]["deep, last block"], maps["visible"]["shallow, last block"])
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert not any(m._forward_pre_hooks for m in model.modules())


def test_rollout_by_hand():
    a, b = torch.rand(1, 3, 3).softmax(2), torch.rand(1, 3, 3).softmax(2)
    identity = torch.eye(3)
    assert torch.allclose(attention.rollout([a, b]), ((b + identity) / 2) @ ((a + identity) / 2))


def test_overlay_is_bright_where_attention_is():
    shares = np.zeros((4, 2))
    shares[3, 1] = 1
    over = attention.overlay(np.full((32, 16, 3), 128, np.uint8), shares)
    assert over.shape == (32, 16, 3) and over.dtype == np.uint8
    assert over[-3, -3].astype(int)[1] > over[3, 3].astype(int)[1] + 50  # yellow against dark blue
