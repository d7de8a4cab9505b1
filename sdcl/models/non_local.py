"""Non-local blocks (Wang et al., CVPR 2018, arXiv 1711.07971) as AGW, PGM and BMIL configure them. B images, C channels, h x w positions."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn


class NonLocalBlock(nn.Module):
    """x + BN(W y) with y_p = 1/(h w) sum_q (theta_p . phi_q) g_q over all positions q; starts as the identity.

    Args:
        channels: C of the input and of the output.
        width: channels of theta, phi and g. The released code computes a number divided by itself, hence 1.
    """

    def __init__(self, channels: int, width: int = 1):
        super().__init__()
        self.theta, self.phi, self.g = (nn.Conv2d(channels, width, 1) for _ in range(3))
        self.project, self.norm = nn.Conv2d(width, channels, 1), nn.BatchNorm2d(channels)
        nn.init.zeros_(self.norm.weight)
        nn.init.zeros_(self.norm.bias)

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, h, w)."""
        theta, phi, g = (layer(maps).flatten(2) for layer in (self.theta, self.phi, self.g))  # (B, width, hw)
        outer = (
            g @ phi.transpose(1, 2) / phi.shape[2]
        )  # (B, width, width): without a softmax the sum over q comes first
        y = (outer @ theta).view(len(maps), -1, *maps.shape[2:])
        return maps + self.norm(self.project(y))


def non_local_blocks(counts: Sequence[int], channels: Sequence[int]) -> nn.ModuleDict:
    """Blocks for the last counts[s] layers of each stage s, with channels[s] channels: "layer1" -> list, "layer2" -> list, ..."""
    lists = (
        nn.ModuleList(NonLocalBlock(width) for _ in range(count))
        for count, width in zip(counts, channels, strict=True)
    )
    return nn.ModuleDict({f"layer{stage}": blocks for stage, blocks in enumerate(lists, 1)})


def run_stage(layers: nn.Sequential, blocks: Sequence[nn.Module], maps: Tensor) -> Tensor:
    """The layers of a stage one after another, the last len(blocks) of them each followed by its block."""
    plain = len(layers) - len(blocks)
    maps = layers[:plain](maps)
    for layer, block in zip(layers[plain:], blocks):
        maps = block(layer(maps))
    return maps
