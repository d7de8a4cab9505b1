"""Settings that several recipes share: the released ADCA and GUR train an ImageNet ResNet-50 on four GPUs,
without colour jitter.
"""

from __future__ import annotations

from typing import Any

RESNET: dict[str, Any] = {
    "arch": "resnet50",
    "shallow": False,
    "bn_replicas": 4,
    "batch_size": 256,
    "batch_size_visible": 128,
    "optimizer": "adam",
    "color_jitter": 0.0,
    "resize_train": "bicubic",
}
RESNET_REGDB: dict[str, Any] = {**RESNET, "iters": 100, "eps": 0.3}
