"""Input of a training batch: decoding and augmenting file by file against the cache of decoded images.

    python benchmarks/input.py [--quick] [--device cuda]

The plain form is that of the released ADCA, GUR and SDCL code: Pillow opens, jitters, resizes, pads, crops
and flips each image on one core. The batch is SDCL's: 128 visible images in two views and 128 infrared ones
at 288 x 144.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import common
import numpy as np
import torch
from PIL import Image
from torchvision import transforms as T
from torchvision.transforms import functional as TF

from sdcl.data.augment import ERASE_FILL, augment, augmentation
from sdcl.data.image_cache import ImageCache, build_cache, open_cache


def plain_chain(height: int, width: int, pad: int = 10) -> T.Compose:
    """The released order of transforms, without the channel operations (which cost little)."""
    jitter, resize = T.ColorJitter(0.5, 0.5, 0.5, 0.5), T.Resize((height, width))
    crop = [T.Pad(pad), T.RandomCrop((height, width)), T.RandomHorizontalFlip(), T.ToTensor()]
    normalize = T.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    erase = T.RandomErasing(0.5, (0.02, 0.4), (0.3, 1 / 0.3), ERASE_FILL)
    return T.Compose([jitter, resize, *crop, normalize, erase])


def write_images(folder: Path, count: int, seed: int) -> list[str]:
    """JPEG files of smooth noise in the usual crop size of SYSU-MM01."""
    generator = np.random.default_rng(seed)
    paths = []
    for i in range(count):
        noise = Image.fromarray(generator.integers(0, 256, (30, 12, 3), np.uint8))
        noise.resize((120, 300), Image.Resampling.BICUBIC).save(folder / f"{i:05}.jpg", quality=90)
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
        count_of_batch = batch["visible"] // 2 * 2 + batch["infrared"]

        def plain() -> torch.Tensor:
            return torch.stack([chain(Image.open(p).convert("RGB")) for p in paths[:count_of_batch]])

        arguments = (paths, height, width, "bilinear", Path(name) / "cache")
        start = time.perf_counter()
        build_cache(*arguments, args.threads, "images")
        built = time.perf_counter() - start
        cache = open_cache(*arguments, torch.device(args.device), workers=args.threads, title="images")

        def cached() -> list[torch.Tensor]:
            parts = []
            for m, size in batch.items():
                images = size // len(views[m])
                pixels = [cache.take(np.arange(images)) for _ in views[m]]
                parts += [
                    augment(x, view, list(range(images))) for x, view in zip(pixels, views[m], strict=True)
                ]
            return parts

        pixels = same_pixels(paths[:8], cache, height, width)
        slow, slow_cpu = wall_and_cpu_seconds(plain)
        fast, fast_cpu = wall_and_cpu_seconds(cached)
    rows = [
        ("files and Pillow, one process", common.seconds(slow), f"{slow_cpu:.3g}", "1.0x", ""),
        (
            "cache, batched augmentation",
            common.seconds(fast),
            f"{fast_cpu:.3g}",
            f"{slow / fast:.1f}x",
            pixels,
        ),
    ]
    common.table((f"a batch of {count_of_batch} images", "time", "CPU seconds", "ratio", "pixels"), rows)
    size = f"{34_167 * height * width * 3 / 1e9:.1f} GB"
    row = (f"{count} images", common.seconds(built), f"{built / count * 1e3:.2g} ms", size)
    common.table(("building the cache", "time", "an image", "SYSU-MM01's training images"), [row])


def same_pixels(paths: list[str], cache: ImageCache, height: int, width: int) -> str:
    """Whether cached images equal the opened and resized files."""
    direct = [np.asarray(TF.resize(Image.open(p).convert("RGB"), [height, width])) for p in paths]
    cached = cache.take(np.arange(len(paths))).cpu().numpy()
    return "agree" if np.array_equal(cached, np.stack(direct)) else "DIFFER"


def wall_and_cpu_seconds(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds of the clock, and of all CPU threads, of one call after a first one."""
    work()
    before = time.process_time()
    _, seconds = common.timed(work)
    return seconds, time.process_time() - before


if __name__ == "__main__":
    main()
