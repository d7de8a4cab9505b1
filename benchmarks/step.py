"""A training step by part: model and neighbour losses, plain form against fast form, with equal values.

    python benchmarks/step.py [--quick] [--device cuda] [--arch vit_base --height 288 --width 144]

The default on a CPU is the small model of the quick start; on a GPU it is SDCL's ViT-B at 384 images a step.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import common
import torch
import torch.nn.functional as F
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from sdcl.losses import agreeing_neighbors, neighbor_contrast
from sdcl.losses.contrast import similarity
from sdcl.losses.neighbor import FLOOR
from sdcl.models.factory import build_model
from sdcl.models.vit import ClassTokenBlock
from sdcl.runtime.devices import tf32_products


def whole_block(self: ClassTokenBlock, tokens: Tensor) -> Tensor:
    """Plain form of a head's block: compute every token and keep the class token."""
    return Block.forward(self, tokens)[:, 0]


def model_step(model: nn.Module, images: dict[str, Tensor], precision: str) -> dict[str, dict[str, Tensor]]:
    """Forward and backward of a sum of squares, with the arithmetic of `--precision`."""
    device = next(model.parameters()).device.type
    with tf32_products(precision == "tf32"):
        with torch.autocast(device, torch.bfloat16, enabled=precision == "bf16"):
            features = model(images)
        sum(f.float().square().mean() for branches in features.values() for f in branches.values()).backward()
    model.zero_grad(set_to_none=True)
    return features


def model_rows(args) -> list[tuple]:
    torch.manual_seed(args.seed)
    model = (
        build_model(args.arch, height=args.height, width=args.width, drop_path=0.0).to(args.device).train()
    )
    sizes = {"visible": 2 * args.batch, "infrared": args.batch}
    images = {m: torch.randn(n, 3, args.height, args.width, device=args.device) for m, n in sizes.items()}
    count = sum(sizes.values())
    products = {"fp32": common.product_rate(args.device)}
    products["bf16"] = common.product_rate(args.device, dtype=torch.bfloat16)
    forward, rows, reference, slowest = ClassTokenBlock.forward, [], None, None
    forms = (
        ("float32, whole blocks", whole_block, "fp32"),
        ("float32", forward, "fp32"),
        ("bf16", forward, "bf16"),
    )
    if args.device == "cuda":
        forms += (("tf32", forward, "tf32"),)
        with tf32_products(True):
            products["tf32"] = common.product_rate(args.device)
    for name, form, precision in forms:
        ClassTokenBlock.forward = form
        with FlopCounterMode(display=False) as counter:
            features = model_step(model, images, precision)
        step = functools.partial(model_step, model, images, precision)
        _, spent = common.timed(step, repeat=args.repeat)
        found = features["infrared"]["deep"].detach().float()
        reference, slowest = (found, spent) if reference is None else (reference, slowest)
        error = float((found - reference).norm() / reference.norm())
        flops = counter.get_total_flops()
        rate = f"{flops / spent / 1e12:.3g} TFLOP/s, {flops / spent / products[precision]:.0%}"
        rows.append(
            (
                name,
                f"{flops / count / 1e9:.3g} GFLOP",
                common.seconds(spent),
                f"{slowest / spent:.2f}x",
                rate,
                f"{error:.1e}",
            )
        )
    ClassTokenBlock.forward = forward
    return rows


def plain_neighbors(features: Tensor, neighbors: Tensor, bank: Tensor, temperature: float = 0.05) -> Tensor:
    """The neighbour loss left to autograd, which keeps several batch x memory matrices for backward."""
    surprise = -F.log_softmax(similarity(F.normalize(features), bank) / temperature, dim=1).clamp(min=FLOOR)
    return ((surprise * neighbors).sum(1) / (1 + neighbors.sum(1))).mean()


def loss_rows(args) -> list[tuple]:
    generator = torch.Generator().manual_seed(args.seed)
    bank = F.normalize(torch.randn(args.images, args.dim, generator=generator)).to(args.device)
    neighbors = agreeing_neighbors({"deep": bank[: args.batch]}, {"deep": bank}, 0.9)
    features = bank[: args.batch] + 0.1
    rows, first = [], None
    for name, loss in (("autograd", plain_neighbors), ("one pass", neighbor_contrast)):

        def step(loss: Callable = loss) -> tuple[Tensor, Tensor]:
            x = features.clone().requires_grad_()
            value = loss(x, neighbors, bank)
            value.backward()
            return value.detach(), x.grad

        kept = bytes_for_backward(lambda loss=loss: loss(features.clone().requires_grad_(), neighbors, bank))
        (value, gradient), spent = common.timed(step, repeat=args.repeat)
        first = first or (value, gradient, spent, kept)
        agree = torch.allclose(value, first[0], rtol=1e-4) and torch.allclose(
            gradient, first[1], atol=1e-4 * float(first[1].abs().max())
        )
        times = (
            common.seconds(spent),
            f"{first[2] / spent:.2f}x",
            common.mebibytes(kept),
            "agree" if agree else "DIFFER",
        )
        rows.append((f"{name}, {args.batch} x {args.images:,}", *times))
    return rows


def bytes_for_backward(make: Callable[[], Tensor]) -> int:
    """Bytes of the tensors that a loss saves for its backward pass."""
    sizes: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        kept = make()
    del kept
    return sum(sizes.values())


def main() -> None:
    parser = common.arguments(__doc__)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    for name in ("arch", "height", "width", "batch", "images", "dim", "repeat"):
        parser.add_argument(f"--{name}", type=str if name == "arch" else int)
    args = parser.parse_args()
    big = args.device == "cuda" and not args.quick
    sizes = {
        "arch": "vit_base",
        "height": 288,
        "width": 144,
        "batch": 128,
        "images": 22_258,
        "dim": 768,
        "repeat": 10,
    }
    small = {
        "arch": "vit_mini",
        "height": 96,
        "width": 48,
        "batch": 32,
        "images": 22_258,
        "dim": 768,
        "repeat": 3,
    }
    tiny = {"arch": "vit_mini", "height": 32, "width": 16, "batch": 4, "images": 300, "dim": 32, "repeat": 2}
    for name, value in (tiny if args.quick else sizes if big else small).items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    torch.set_num_threads(args.threads)
    print(common.machine(args.device))
    header = (
        "model, forward and backward",
        "work an image",
        "time",
        "ratio",
        "rate, of this machine's products",
        "relative difference of the features",
    )
    common.table(header, model_rows(args))
    common.table(
        ("neighbour loss, forward and backward", "time", "ratio", "kept for backward", "values"),
        loss_rows(args),
    )


if __name__ == "__main__":
    main()
