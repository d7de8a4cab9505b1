"""Images, pretrained model, batches and test score, shared by the `*_synthetic.py` programs.

N images of a modality, B images of a batch, H height, W width.
"""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sdcl.clustering import PseudoLabels
from sdcl.data.augment import Augmentation, augment
from sdcl.data.image_cache import ImageCache, open_cache
from sdcl.data.sampler import epoch_batches
from sdcl.datasets import MODALITIES, ProtocolOptions, open_dataset
from sdcl.evaluation.protocols import evaluate
from sdcl.inference.extract import calibrate_necks, extract_features, joined
from sdcl.models.backbone import Backbone
from sdcl.models.factory import build_model
from sdcl.models.pretrained import ASSETS
from sdcl.models.weight_formats import load_weights
from sdcl.synthetic.dataset import build

SIZE = (96, 48)  # of the pretrained vit_mini; released: 288 x 144
BATCH, INSTANCES = 32, 4  # images of a modality in a batch, and of each cluster; released: 128 or 256, 16
Arrays = dict[str, np.ndarray]  # modality -> array
Tensors = dict[str, Tensor]
EXTRACTION: dict[str, Any] = {"batch_size": 128, "bf16": False, "title": "extract features"}


class Images(NamedTuple):
    """Decoded training images and cameras int (N,) by modality, and a function that tests a model."""

    train: dict[str, ImageCache]
    cameras: Arrays
    score: Callable[[Backbone], str]


def arguments(description: str, iters: int = 30) -> argparse.Namespace:
    """The flags of all examples."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=description, formatter_class=formatter)
    add = parser.add_argument
    add("--epochs", type=int, default=6)
    add("--iters", type=int, default=iters, help="optimiser steps per stage and epoch (default %(default)s)")
    add(
        "--identities",
        type=int,
        default=60,
        help="identities to train on; 0.4 times as many others are tested",
    )
    add("--data-dir", type=Path, default=Path("logs/examples"), help="folder of the rendered images")
    add("--seed", type=int, default=1, help="of training; the images stay the same")
    return parser.parse_args()


def open_images(args: argparse.Namespace) -> Images:
    """Render the images, unless they are there, and decode them. Only `score` reads identities."""
    folder = args.data_dir / f"identities_{args.identities}"
    build(folder, "sysu", "quick", identities=args.identities)
    dataset = open_dataset("sysu", folder)
    protocols = dataset.protocols(ProtocolOptions(modes=("all",)))
    options = {"resize": "bilinear", "cache_dir": args.data_dir / "cache", "device": torch.device("cpu")}
    train, test = (
        {m: open_cache([s.path for s in split[m]], *SIZE, **options, workers=2, title=m) for m in MODALITIES}
        for split in (dataset.train, dataset.test)
    )

    def score(model: Backbone) -> str:
        """All search, mean over ten draws of the gallery. For information: training never reads it."""
        features = {m: joined(extract_features(model, test[m], m, **EXTRACTION)) for m in MODALITIES}
        metrics = evaluate(features, dataset.test, protocols)[0].metrics
        return f"Rank-1 {100 * metrics.r1:.1f}, mAP {100 * metrics.mAP:.1f}"

    return Images(train, {m: np.array([s.camera for s in dataset.train[m]]) for m in MODALITIES}, score)


def pretrained_model(images: Images, branches: tuple[str, ...], seed: int) -> Backbone:
    """`vit_mini` with the weights of the package; its BN necks are calibrated on the training images."""
    torch.manual_seed(seed)
    model = build_model("vit_mini", height=SIZE[0], width=SIZE[1], branches=branches)
    load_weights(model, ASSETS / "vit_mini.safetensors")
    calibrate_necks(model, images.train, batch_size=EXTRACTION["batch_size"], bf16=False, seed=seed)
    return model


def extract(model: Backbone, images: Images, unit_views: bool = False) -> dict[str, Tensors]:
    """modality -> branch -> features (N, D) of the training images."""
    return {
        m: extract_features(model, images.train[m], m, unit_views=unit_views, **EXTRACTION)
        for m in MODALITIES
    }


def describe(clusters: dict[str, PseudoLabels]) -> str:
    """Numbers of clusters and outliers of both modalities."""
    return ", ".join(
        f"{clusters[m].occupied} {m} clusters and {clusters[m].outliers} outliers" for m in MODALITIES
    )


def batches(
    images: Images, labels: Arrays, views: dict[str, list[Augmentation]], steps: int, seed: tuple[int, ...]
) -> Iterator[tuple[Tensors, Tensors, Arrays]]:
    """Images (B, 3, H, W), labels (B,) and training indexes (B,) of each step; an image occurs once per view.

    Args:
        labels: modality -> int (N,); images with -1 are not sampled. views: modality -> augmentations.
    """
    sampled = {}  # modality -> (steps, BATCH)
    for i, m in enumerate(MODALITIES):
        sizes: dict[str, Any] = {"batch_size": BATCH, "num_instances": INSTANCES, "iterations": steps}
        sampled[m] = epoch_batches(labels[m], images.cameras[m], **sizes, seed=(*seed, i))
    rng = np.random.default_rng(seed)
    for step in range(steps):
        augmented, indexes = {}, {}
        for m in MODALITIES:
            chosen = sampled[m][step]
            parts = [
                augment(images.train[m].take(chosen), v, rng.integers(2**62, size=BATCH).tolist())
                for v in views[m]
            ]
            augmented[m], indexes[m] = torch.cat(parts), np.tile(chosen, len(views[m]))
        yield augmented, {m: torch.as_tensor(labels[m][indexes[m]]) for m in MODALITIES}, indexes
