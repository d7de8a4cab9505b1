"""What the `*_synthetic.py` beside this file share, so that each shows its method alone: people drawn once, a model with its starting
weight, batches, and a score. Here is no label, no memory and no loss.

N images of a modality, B rows of a batch, H height, W width.
"""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from sdcl.data.augment import Augmentation, augment
from sdcl.data.image_cache import ImageStore, open_store
from sdcl.data.sampler import epoch_batches
from sdcl.datasets import MODALITIES, ProtocolOptions, open_dataset
from sdcl.evaluation import evaluate
from sdcl.inference.extract import calibrate_necks, embed, joined
from sdcl.models.factory import build_model
from sdcl.models.pretrained import STARTING_WEIGHTS
from sdcl.models.weight_formats import load_weights
from sdcl.synthetic.dataset import build

SIZE = (96, 48)  # what the small weight was made for; released: 288 x 144
BATCH, INSTANCES = 32, 4  # images of a modality, and of each cluster among them; released: 128 or 256, 16
HOW = {"batch_size": 128, "bf16": False, "title": "people"}  # of every embedding


def arguments(description: str, iters: int = 30) -> argparse.Namespace:
    flags = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--epochs", type=int, default=6)
    flags.add_argument("--iters", type=int, default=iters, help="optimiser steps of a stage of an epoch (default %(default)s)")
    flags.add_argument("--identities", type=int, default=60, help="people to train on; 0.4 times as many others are searched for")
    flags.add_argument("--data-dir", type=Path, default=Path("logs/examples"), help="where people are drawn, if they are not there yet")
    flags.add_argument("--seed", type=int, default=1, help="of the training; the people stay the same")
    return flags.parse_args()


def draw_people(own: argparse.Namespace) -> tuple[dict[str, ImageStore], dict[str, np.ndarray], Callable[[nn.Module], str]]:
    """modality -> decoded training images; modality -> int (N,) their cameras; a function that tests a model, the only reader of identities."""
    folder = own.data_dir / f"people_{own.identities}"
    build(folder, "sysu", "quick", identities=own.identities)
    dataset = open_dataset("sysu", folder)
    train, test = dataset.train, dataset.test
    protocols = dataset.protocols(ProtocolOptions(modes=("all",)))
    place = {"resize": "bilinear", "cache_dir": own.data_dir / "cache", "device": torch.device("cpu"), "workers": 2}
    stores, test_stores = (
        {m: open_store([s.path for s in some[m]], *SIZE, **place, title=m) for m in MODALITIES} for some in (train, test)
    )

    def score(model: nn.Module) -> str:
        """All search, ten draws of the gallery. To look at: nothing is ever chosen by it."""
        features = {m: joined(embed(model, test_stores[m], m, **HOW)) for m in MODALITIES}
        found = evaluate(features, test, protocols)[0].metrics
        return f"Rank-1 {100 * found.r1:.1f}, mAP {100 * found.mAP:.1f}"

    return stores, {m: np.array([s.camera for s in train[m]]) for m in MODALITIES}, score


def starting_model(stores: dict[str, ImageStore], branches: tuple[str, ...], seed: int) -> nn.Module:
    """`vit_mini` with the weight of the package, and necks that know the statistics of the unlabelled training images."""
    torch.manual_seed(seed)
    model = build_model("vit_mini", height=SIZE[0], width=SIZE[1], branches=branches)
    load_weights(model, STARTING_WEIGHTS["vit_mini"][0])
    calibrate_necks(model, stores, batch_size=HOW["batch_size"], bf16=HOW["bf16"], seed=seed)
    return model


def batches(
    stores: dict[str, ImageStore], cameras: dict[str, np.ndarray], ids: dict[str, np.ndarray], views: dict[str, list[Augmentation]],
    iterations: int, seed: tuple[int, ...],
) -> Iterator[tuple[dict[str, Tensor], dict[str, Tensor], dict[str, np.ndarray]]]:  # fmt: skip
    """Each step's images (B, 3, H, W), labels (B,) and rows of the training list (B,), by modality; an image stands once for each view.

    Args:
        ids: modality -> int (N,) labels; images with -1 are not drawn. views: modality -> how its images are seen.
    """
    size = {"batch_size": BATCH, "num_instances": INSTANCES, "iterations": iterations}
    drawn = {m: epoch_batches(ids[m], cameras[m], **size, seed=(*seed, i)) for i, m in enumerate(MODALITIES)}  # (iterations, BATCH)
    rng = np.random.default_rng(seed)
    for step in range(iterations):
        parts = {m: [(view, drawn[m][step], rng.integers(2**62, size=BATCH)) for view in views[m]] for m in MODALITIES}
        images = {m: torch.cat([augment(stores[m].take(rows), view, seeds) for view, rows, seeds in parts[m]]) for m in MODALITIES}
        indexes = {m: np.tile(drawn[m][step], len(views[m])) for m in MODALITIES}
        yield images, {m: torch.as_tensor(ids[m][indexes[m]]) for m in MODALITIES}, indexes
