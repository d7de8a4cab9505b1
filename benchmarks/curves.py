"""Training curves of the fast path and of the plain path, over the same seeds: speed must not change what is learnt.

    python benchmarks/curves.py [--quick] [--data-dir DIR] [--seeds 3] [--epochs 6]      # DIR: the quick start's images, if they are there already

The plain path is the same program with its fast forms taken out: float32; every image opened, jittered, resized, cropped and erased by Pillow and
torchvision; whole transformer blocks; neighbour losses left to autograd; memories moved by a loop; dense Jaccard distances and scikit-learn's DBSCAN.
Random numbers of the augmentation differ, so curves agree within what another seed does, not to the bit.
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

from sdcl import train as training
from sdcl.clustering import PseudoLabels, nearest_neighbors
from sdcl.data.augment import Augmentation, draw_channel_adapt_gray, draw_channel_exchange
from sdcl.data.augment_gpu import apply_channel
from sdcl.losses.contrast import similarity
from sdcl.losses.neighbor import FLOOR
from sdcl.memory import cluster, instance
from sdcl.methods import cluster_contrast as contrast
from sdcl.methods import sdcl
from sdcl.models.vit import ClassTokenBlock
from sdcl.training import batches, steps

HERE = Path(__file__).parent
SHOWN = ("R1", "mAP")


def take_out_fast_forms() -> None:
    """Put the plain forms into the places that the program calls."""
    ClassTokenBlock.forward = whole_block
    sdcl.neighbor_contrast = plain_neighbors
    cluster.sequential_update = instance.sequential_update = loop_update
    contrast.pseudo_labels = dense_pseudo_labels
    steps.load_views = views_from_files
    open_stores = training.open_stores

    def with_paths(paths: dict[str, list[str]], *how) -> dict:
        stores = open_stores(paths, *how)
        for m, store in stores.items():
            store.paths = paths[m]
        return stores

    training.open_stores = with_paths


def plain_neighbors(
    features: Tensor, neighbors: Tensor, bank: Tensor, temperature: float, late: Tensor | None
) -> Tensor:
    surprise = -F.log_softmax(similarity(F.normalize(features), bank, late) / temperature, dim=1).clamp(
        min=FLOOR
    )
    return ((surprise * neighbors).sum(1) / (1 + neighbors.sum(1))).mean()


def dense_pseudo_labels(
    features: Tensor, *, k1: int, k2: int, eps: float, min_samples: int, backend: str, normalize: bool = True
) -> PseudoLabels:
    features = F.normalize(features.float()) if normalize else features.float()
    clustering.K1, clustering.K2, clustering.EPS, clustering.MIN_SAMPLES = k1, k2, eps, min_samples
    ids = clustering.dense_labels(nearest_neighbors(features, k1, backend=backend), features.cpu().numpy())[0]
    return PseudoLabels(ids, int(ids.max()) + 1, eps)


def views_from_files(
    store, rows: np.ndarray, views: list[Augmentation], seed: tuple[int, ...], local: slice
) -> Tensor:
    """`sdcl.training.batches.load_views` by the released chain, image by image."""
    height, width = store.take(rows[:1]).shape[1:3]
    parts = []
    for v, view in enumerate(views):
        chain = plain_chain(height, width, view.pad)
        for row, word in zip(rows, batches.words(*seed, v, count=len(rows)), strict=True):
            random.seed(word)
            torch.manual_seed(word)
            image = chain(Image.open(store.paths[row]).convert("RGB"))[None]
            code = {
                "none": lambda rng: -1,
                "exchange": draw_channel_exchange,
                "adapt_gray": draw_channel_adapt_gray,
            }[view.channel]
            parts.append(apply_channel(image, [code(random.Random(word))]))
    return torch.cat(parts)[local]


def main() -> int:
    if sys.argv[1:2] == ["plain"]:
        take_out_fast_forms()
        return training.main([*sys.argv[2:], "--precision", "fp32"])
    parser = common.arguments(__doc__)
    parser.add_argument("--data-dir", type=Path, help="in SYSU-MM01's layout; drawn when not given")
    parser.add_argument("--work", type=Path, default=Path("logs/curves"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=6)
    args = parser.parse_args()
    size, people = [], ["--identities", "100"]
    if args.quick:
        args.seeds, args.epochs, people = 1, 2, ["--identities", "6", "--images-per-camera", "4"]
        size = "--iters 2 --iters-unified 2 -b 8 --num-instances 2 --k1 5 --k1-visible-unified 5 --cra-k 4 --height 32 --width 16 --pad 2".split()
    if args.data_dir is None:
        args.data_dir = args.work / "data"
        made = [
            "--layout",
            "sysu",
            "--set",
            "quick",
            "--seed",
            "0",
            "--out",
            str(args.data_dir),
            "--jobs",
            str(args.threads),
            *people,
        ]
        subprocess.run(
            [sys.executable, "-m", "sdcl.synthetic.dataset", *made], check=True, stdout=subprocess.DEVNULL
        )
    flags = [
        "-d",
        "sysu",
        "--data-dir",
        str(args.data_dir),
        "--config",
        str(HERE.parent / "examples/quickstart.json"),
        "--report",
        "none",
    ]
    flags += [
        "--cache-dir",
        str(args.work / "cache"),
        "--epochs",
        str(args.epochs),
        "--unify-from",
        str(args.epochs // 2),
        *size,
    ]
    forms = {"fast": ["-m", "sdcl.train"], "plain": [__file__, "plain"]}
    curves, seconds = {}, {}
    for form, program in forms.items():
        for seed in range(1, args.seeds + 1):
            folder, began = args.work / f"{form}_{seed}", time.perf_counter()
            fresh = not folder.exists()
            command = [sys.executable, *program, *flags, "--logs-dir", str(folder), "--seed", str(seed)]
            environment = {**os.environ, "OMP_NUM_THREADS": str(args.threads)}
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
            seconds[form, seed] = time.perf_counter() - began if fresh else float("nan")
            curves[form, seed] = [
                json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()
            ]
            print(
                f"{form}, seed {seed}: "
                + (f"{seconds[form, seed]:.0f} s" if fresh else "continued, not timed"),
                flush=True,
            )
    print(common.machine())
    seeds = range(1, args.seeds + 1)
    rows = [
        [
            epoch,
            *(spread([value(curves[f, s][epoch], m) for s in seeds]) for m in (*SHOWN, "ARI") for f in forms),
        ]
        for epoch in range(args.epochs)
    ]
    common.table(("epoch", *(f"{m}, {f}" for m in (*SHOWN, "visible ARI") for f in forms)), rows)
    times = {f: statistics.mean(seconds[f, s] for s in seeds) for f in forms}
    if all(t == t for t in times.values()):  # a run that an earlier call began says nothing of time
        common.table(
            ("form", "a run", "ratio"),
            [(f, common.seconds(t), f"{times['plain'] / t:.1f}x") for f, t in times.items()],
        )
    return 0


def value(row: dict, name: str) -> float:
    """Of a line of metrics.jsonl: the all-search metric in percent, or the adjusted Rand index of the visible clusters."""
    if name == "ARI":
        return row["labels"]["visible"]["ari"]
    return next(r for r in row["test"] if "all-search" in r["protocol"])[name]


def spread(values: list[float]) -> str:
    return f"{statistics.mean(values):.3g}" + (
        f" ± {statistics.stdev(values):.2g}" if len(values) > 1 else ""
    )


if __name__ == "__main__":
    sys.exit(main())
