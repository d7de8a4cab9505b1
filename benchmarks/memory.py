"""Memory updates: a Python loop over the batch against `sequential_update`, with equal results.

    python benchmarks/memory.py [--quick]

Batches of 16 images per identity: 16 samples per entry of a cluster memory, one or two of an instance memory.
"""

from __future__ import annotations

import common
import numpy as np
import torch
import torch.nn.functional as F

from sdcl.memory.momentum import sequential_update

# name, samples in the batch, entries of the memory, samples of one entry
CASES = (
    ("cluster memory, 256 samples", 256, 400, 16),
    ("cluster memory, 128 samples", 128, 400, 16),
    ("shared cluster memory, 384 samples", 384, 400, 48),
    ("instance memory, 256 samples", 256, 22_258, 2),
    ("instance memory, 128 samples", 128, 22_258, 1),
)
DIMENSIONS, MOMENTUM = 768, 0.1


def loop_update(bank: torch.Tensor, values: torch.Tensor, rows: np.ndarray, momentum: float) -> None:
    """The released update: a Python loop over the batch."""
    for value, row in zip(values, rows.tolist(), strict=True):
        bank[row] = momentum * bank[row] + (1 - momentum) * value
        bank[row] /= bank[row].norm()


def run(
    bank: np.ndarray, values: np.ndarray, rows: np.ndarray, plain: bool, device: str
) -> tuple[np.ndarray, float]:
    """-> (the bank after one update, seconds of the fastest of 20)."""
    update = loop_update if plain else sequential_update
    start, on_device = torch.from_numpy(bank).to(device), torch.from_numpy(values).to(device)
    once = start.clone()
    update(once, on_device, rows, MOMENTUM)
    _, seconds = common.timed(lambda: update(start, on_device, rows, MOMENTUM), repeat=20)
    return once.cpu().numpy(), seconds


def main() -> None:
    parser = common.arguments(__doc__)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(common.machine(args.device))
    copy = common.copy_rate(args.device)
    generator = torch.Generator().manual_seed(args.seed)
    rows = []
    for name, batch, size, repeats in CASES:
        batch, size, dimensions = (batch // 8, 30, 32) if args.quick else (batch, size, DIMENSIONS)
        bank = F.normalize(torch.randn(size, dimensions, generator=generator)).numpy()
        values = torch.randn(batch, dimensions, generator=generator).numpy()
        targets = (
            torch.randperm(size, generator=generator)[: -(-batch // repeats)]
            .repeat_interleave(repeats)[:batch]
            .numpy()
        )
        (expected, plain), plain_memory = common.in_child(
            run, [bank, values, targets], True, args.device, threads=args.threads
        )
        (updated, ours), memory = common.in_child(
            run, [bank, values, targets], False, args.device, threads=args.threads
        )
        agree = np.allclose(expected, updated, atol=1e-6)
        floor = 12 * batch * dimensions / copy  # read the sample and its entry, write the entry
        times = (common.seconds(plain), common.seconds(ours), f"{plain / ours:.1f}x", common.seconds(floor))
        rows.append(
            (
                name,
                *times,
                common.mebibytes(plain_memory),
                common.mebibytes(memory),
                "agree" if agree else "DIFFER",
            )
        )
    common.table(
        ("update", "loop", "sequential_update", "ratio", "floor", "loop memory", "our memory", "banks"), rows
    )


if __name__ == "__main__":
    main()
