"""Training curves of the fast and of a plain implementation over seeds: speed must not change what is learnt.

    python benchmarks/curves.py [--quick] [--data-dir DIR] [--seeds 3] [--epochs 6]

DIR may hold the images of the quick start. The plain implementation is the same program with its fast parts
replaced: float32; each image opened and augmented by Pillow and torchvision; whole transformer blocks;
neighbour losses by autograd; memory updates in a loop; dense Jaccard distances and scikit-learn's DBSCAN. The
random numbers of the augmentation differ, so curves agree within the variation between seeds, not to the bit.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import clustering
import common
import numpy as np
import torch
import torch.nn.functional as F
from input import plain_chain
from memory import loop_update
from PIL import Image
from step import whole_block
from torch import Tensor

from sdcl import train as program
from sdcl.clustering import PseudoLabels, nearest_neighbors
from sdcl.data.augment_draws import Augmentation, draw_channel_adapt_gray, draw_channel_exchange
from sdcl.data.augment_gpu import apply_channel
from sdcl.data.image_cache import ImageCache
from sdcl.losses.contrast import similarity
from sdcl.losses.neighbor import FLOOR
from sdcl.memory import cluster, instance
from sdcl.methods.parts import labels, neighbor_learning
from sdcl.models.vit import ClassTokenBlock
from sdcl.runtime.seeds import derive_seeds
from sdcl.training import images, trainer

HERE = Path(__file__).parent
METRICS = ("R1", "mAP")
CHANNEL_DRAWS = {
    "none": lambda rng: -1,
    "exchange": draw_channel_exchange,
    "adapt_gray": draw_channel_adapt_gray,
}
QUICK = "--iters 2 --iters-unified 2 -b 8 --num-instances 2 --k1 5 --k1-visible-unified 5 --cra-k 4"


def replace_fast_parts() -> None:
    """Replace the fast parts of the training program by plain ones."""
    ClassTokenBlock.forward = whole_block
    neighbor_learning.neighbor_contrast = plain_neighbor_contrast
    cluster.sequential_update = instance.sequential_update = loop_update
    labels.pseudo_labels = dense_pseudo_labels
    trainer.load_views = views_from_files
    open_caches = images.open_caches

    def open_with_paths(paths: dict[str, list[str]], *arguments: Any) -> tuple[dict[str, ImageCache], ...]:
        uses = open_caches(paths, *arguments)
        for modality, listed in paths.items():
            for caches in uses:
                caches[modality].paths = listed
        return uses

    images.open_caches = open_with_paths


def plain_neighbor_contrast(
    features: Tensor, neighbors: Tensor, bank: Tensor, temperature: float, gradient_bank: Tensor | None
) -> Tensor:
    """`sdcl.losses.neighbor_contrast` by autograd."""
    logits = similarity(F.normalize(features), bank, gradient_bank) / temperature
    surprise = -F.log_softmax(logits, dim=1).clamp(min=FLOOR)
    return ((surprise * neighbors).sum(1) / (1 + neighbors.sum(1))).mean()


def dense_pseudo_labels(
    features: Tensor, *, k1: int, k2: int, eps: float, min_samples: int, backend: str, normalize: bool = True
) -> PseudoLabels:
    """`sdcl.clustering.pseudo_labels` with dense distances and scikit-learn's DBSCAN."""
    features = F.normalize(features.float()) if normalize else features.float()
    clustering.K1, clustering.K2, clustering.EPS, clustering.MIN_SAMPLES = k1, k2, eps, min_samples
    ranks = nearest_neighbors(features, k1, backend=backend)
    ids = clustering.dense_labels(ranks, features.cpu().numpy())[0]
    return PseudoLabels(ids, int(ids.max()) + 1, eps)


def views_from_files(
    cache: Any,
    indexes: np.ndarray,
    views: list[Augmentation],
    seed: tuple[int, ...],
    local: slice,
    normalization: Any,
    translation: Any = None,
) -> Tensor:
    """`sdcl.training.batches.load_views` by the released transforms,
    image by image: ImageNet, channel exchange.
    """
    height, width = cache.take(indexes[:1]).shape[1:3]
    parts = []
    for number, view in enumerate(views):
        chain = plain_chain(height, width, view.pad)
        image_seeds = derive_seeds(*seed, number, count=len(indexes))
        for index, image_seed in zip(indexes, image_seeds, strict=True):
            random.seed(image_seed)
            torch.manual_seed(image_seed)
            image = chain(Image.open(cache.paths[index]).convert("RGB"))[None]
            parts.append(apply_channel(image, [CHANNEL_DRAWS[view.channel](random.Random(image_seed))]))
    return torch.cat(parts)[local]


def main() -> int:
    if sys.argv[1:2] == ["plain"]:
        replace_fast_parts()
        return program.main([*sys.argv[2:], "--precision", "fp32"])
    parser = common.arguments(__doc__)
    parser.add_argument("--data-dir", type=Path, help="in SYSU-MM01's layout; default: rendered")
    parser.add_argument("--work", type=Path, default=Path("logs/curves"), help="folder of images and runs")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=6)
    args = parser.parse_args()
    size, identities = [], ["--identities", "100"]
    if args.quick:
        args.seeds, args.epochs = 1, 2
        identities = ["--identities", "6", "--images-per-camera", "4"]
        size = [*QUICK.split(), "--height", "32", "--width", "16", "--pad", "2"]
    if args.data_dir is None:
        args.data_dir = args.work / "data"
        common.sdcl("synthesize", "--out", args.data_dir, "--jobs", args.threads, *identities)
    config = HERE / "curves.json"  # the quick start of version 0.2
    flags = ["-d", "sysu", "--data-dir", args.data_dir, "--config", config, "--report", "none", *size]
    flags += ["--cache-dir", args.work / "cache"]
    flags += ["--epochs", args.epochs, "--unify-from", args.epochs // 2]
    commands = {"fast": ["-m", "sdcl.train"], "plain": [__file__, "plain"]}
    curves, seconds = {}, {}
    for form, command in commands.items():
        for seed in range(1, args.seeds + 1):
            folder, start = args.work / f"{form}_{seed}", time.perf_counter()
            new = not folder.exists()
            run_flags = [*flags, "--logs-dir", folder, "--seed", seed]
            environment = {**os.environ, "OMP_NUM_THREADS": str(args.threads)}
            subprocess.run(
                [sys.executable, *command, *map(str, run_flags)],
                check=True,
                stdout=subprocess.DEVNULL,
                env=environment,
            )
            seconds[form, seed] = time.perf_counter() - start if new else float("nan")
            lines = (folder / "metrics.jsonl").read_text().splitlines()
            curves[form, seed] = [json.loads(line) for line in lines]
            duration = f"{seconds[form, seed]:.0f} s" if new else "continued, not timed"
            print(f"{form}, seed {seed}: {duration}", flush=True)
    print(common.machine())
    seeds, columns = range(1, args.seeds + 1), [(m, f) for m in (*METRICS, "ARI") for f in commands]
    rows = []
    for epoch in range(args.epochs):
        cells = [mean_and_std([value(curves[f, s][epoch], m) for s in seeds]) for m, f in columns]
        rows.append([epoch, *cells])
    common.table(("epoch", *(f"{'visible ARI' if m == 'ARI' else m}, {f}" for m, f in columns)), rows)
    times = {form: statistics.mean(seconds[form, s] for s in seeds) for form in commands}
    if all(t == t for t in times.values()):  # NaN: a run of an earlier call
        ratios = [(form, common.seconds(t), f"{times['plain'] / t:.1f}x") for form, t in times.items()]
        common.table(("form", "a run", "ratio"), ratios)
    return 0


def value(row: dict[str, Any], name: str) -> float:
    """All-search metric in percent, or adjusted Rand index of visible clusters, of a row of metrics.jsonl."""
    if name == "ARI":
        return row["labels"]["visible"]["ari"]
    return next(r for r in row["test"] if "all-search" in r["protocol"])[name]


def mean_and_std(values: list[float]) -> str:
    mean = f"{statistics.mean(values):.3g}"
    return f"{mean} ± {statistics.stdev(values):.2g}" if len(values) > 1 else mean


if __name__ == "__main__":
    sys.exit(main())
