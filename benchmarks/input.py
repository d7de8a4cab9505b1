"""What a training batch costs before the model sees it: decoding and augmenting file by file against the decoded store.

    python benchmarks/input.py [--quick] [--device cuda]

The plain form is the family's: Pillow opens, jitters, resizes, pads, crops and flips each image; one core does it. 256 visible rows (128 images in
two views) and 128 infrared ones, at 288 x 144, the batch of SDCL.
"""

from __future__ import annotations

import random
import tempfile
import time
from pathlib import Path

import common
import numpy as np
import torch
from PIL import Image
from torchvision import transforms as T
from torchvision.transforms import functional as TF

from sdcl.data.augment import ERASE_FILL, augment, augmentation
from sdcl.data.image_cache import build_cache, open_store


def plain_chain(height: int, width: int, pad: int = 10) -> T.Compose:
    """The released order of Pillow transforms, without the channel operations (which cost little)."""
    jitter = T.ColorJitter(0.5, 0.5, 0.5, 0.5)
    steps = [
        jitter,
        T.Resize((height, width)),
        T.Pad(pad),
        T.RandomCrop((height, width)),
        T.RandomHorizontalFlip(),
        T.ToTensor(),
    ]
    return T.Compose(
        [
            *steps,
            T.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
            T.RandomErasing(0.5, (0.02, 0.4), (0.3, 1 / 0.3), ERASE_FILL),
        ]
    )


def write_images(folder: Path, count: int, seed: int) -> list[str]:
    """Photograph-like noise at SYSU-MM01's usual crop size, as JPEG files."""
    generator = np.random.default_rng(seed)
    paths = []
    for i in range(count):
        coarse = Image.fromarray(generator.integers(0, 256, (30, 12, 3), np.uint8)).resize(
            (120, 300), Image.Resampling.BICUBIC
        )
        coarse.save(folder / f"{i:05}.jpg", quality=90)
        paths.append(str(folder / f"{i:05}.jpg"))
    return paths


def main() -> None:
    parser = common.arguments(__doc__)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(common.machine(args.device))
    count, (height, width) = (16, (32, 16)) if args.quick else (512, (288, 144))
    batch = {"visible": count // 2, "infrared": count // 4}
    views = {
        "visible": [augmentation("visible", v) for v in ("plain", "exchanged")],
        "infrared": [augmentation("infrared", "plain")],
    }
    with tempfile.TemporaryDirectory() as name:
        paths = write_images(Path(name), count, args.seed)
        random.seed(args.seed)
        chain = plain_chain(height, width)
        rows = batch["visible"] // 2 * 2 + batch["infrared"]

        def plain() -> torch.Tensor:
            return torch.stack([chain(Image.open(p).convert("RGB")) for p in paths[:rows]])

        place = (paths, height, width, "bilinear", Path(name) / "cache")
        began = time.perf_counter()
        build_cache(*place, args.threads, "images")
        built = time.perf_counter() - began
        store = open_store(*place, torch.device(args.device), workers=args.threads, title="images")

        def ours() -> list[torch.Tensor]:
            parts = []
            for m, size in batch.items():
                images = size // len(views[m])
                parts += [
                    augment(store.take(np.arange(images)), view, list(range(images))) for view in views[m]
                ]
            return parts

        equal = same_pixels(paths[:8], store, height, width)
        (_, slow), cpu_slow = timed_core(plain)
        (_, fast), cpu_fast = timed_core(ours)
    header = (f"a batch of {rows} rows", "time", "core-seconds", "ratio", "pixels")
    store_row = (
        "decoded store, batched augmentation",
        common.seconds(fast),
        f"{cpu_fast:.3g}",
        f"{slow / fast:.1f}x",
        equal,
    )
    common.table(
        header,
        [("files and Pillow, one process", common.seconds(slow), f"{cpu_slow:.3g}", "1.0x", ""), store_row],
    )
    bytes_each = height * width * 3
    rows = [
        (
            f"{count} images",
            common.seconds(built),
            f"{built / count * 1e3:.2g} ms",
            f"{34_167 * bytes_each / 1e9:.1f} GB",
        )
    ]
    common.table(("building the store", "time", "an image", "SYSU-MM01's training images"), rows)


def same_pixels(paths: list[str], store, height: int, width: int) -> str:
    """Whether the store holds what opening and resizing the file gives."""
    direct = [np.asarray(TF.resize(Image.open(p).convert("RGB"), [height, width])) for p in paths]
    return (
        "agree"
        if np.array_equal(store.take(np.arange(len(paths))).cpu().numpy(), np.stack(direct))
        else "DIFFER"
    )


def timed_core(work) -> tuple[tuple, float]:
    """(what `timed` gives, processor seconds of all threads) of one warm call."""
    work()
    before = time.process_time()
    found = common.timed(work)
    return found, time.process_time() - before


if __name__ == "__main__":
    main()
