"""Add a method in one file, and train it beside the baseline.

    python examples/add_a_method.py
    python examples/add_a_method.py --min-similarity 0.3 --epochs 10     # every flag of `sdcl train`

The method: where a visible and an infrared cluster are each other's nearest, they are taken for one identity
and share a label and a prototype. All other clusters keep a label of their own in the same memory.
A package can offer its method to `sdcl train --method NAME` by an entry point of the group "sdcl.methods";
that file then imports torch where it is used only, because every command line reads it (docs/extending.md).
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from sdcl import METHODS, config
from sdcl.config.fields import Bounds, setting
from sdcl.datasets import MODALITIES
from sdcl.memory import centroids
from sdcl.methods import Stage, parts
from sdcl.methods.interface import Extract, Features, Indexes, Once, label_sets
from sdcl.synthetic.dataset import build
from sdcl.train import train

# A small model and a few rendered images.
MODEL = {"arch": "vit_mini", "shallow": False, "calibrate_necks": True, "height": 96, "width": 48, "pad": 4}
CLUSTERS = {"k1": 15, "eps": 0.5, "momentum": 0.9, "momentum_first": 0.9}
BATCHES = {"batch_size": 32, "num_instances": 4, "bn_replicas": 1, "iters": 20}
TRAINING = {"optimizer": "adam", "lr": 1e-4, "epochs": 6, "eval_step": 1000}


@dataclass(frozen=True)
class NearestSettings:
    """Each field is a flag of `sdcl train --method nearest`."""

    min_similarity: float = setting(0.0, "least cosine similarity of merged clusters", bounds=Bounds(-1, 1))


class Nearest:
    """One stage per epoch: "nearest". See `sdcl.methods.interface.Method`."""

    title, paper = "Mutually nearest clusters", ""
    SETTINGS = NearestSettings
    # Data set -> what differs from the defaults.
    RECIPES: ClassVar[dict[str, dict[str, Any]]] = {"sysu": {**MODEL, **CLUSTERS, **BATCHES, **TRAINING}}
    branches, agw, unit_views = ("deep",), "resnet50", True
    restarts: tuple[int, ...] = ()

    def __init__(self, settings: config.Settings, cameras: Indexes):
        self.nearest: NearestSettings = settings.method
        self.cluster, self.memory, self.batch = settings.cluster, settings.memory, settings.batch

    def stages(self, epoch: int, extract: Extract, once: Once) -> Iterator[Stage]:
        features = extract()
        clusters = parts.cluster_each(features, self.cluster, once, epoch)
        labels = once(
            lambda: merge(features, {m: clusters[m].ids for m in MODALITIES}, self.nearest.min_similarity)
        )
        source = parts.joint_source(features, labels)  # one memory for both modalities
        contrast = parts.ClusterContrast(source, self.memory, first=epoch == 0)
        yield Stage("nearest", labels, self.batch.iters, {"contrast": contrast}, label_sets(clusters))

    def steps_per_epoch(self) -> int:
        return self.batch.iters


def merge(features: Features, labels: Indexes, min_similarity: float) -> Indexes:
    """One label space for both modalities: infrared labels, then visible clusters without a partner.

    Args:
        features: modality -> branch -> (N, D). labels: modality -> int (N,), -1 is an outlier.

    Returns:
        modality -> int (N,), numbered without gaps, because prototype r of the memory belongs to label r.
    """
    visible, infrared = (centroids(features[m]["deep"], labels[m]) for m in MODALITIES)  # (Kv, D), (Kr, D)
    similarity = visible @ infrared.T
    best, partner = similarity.max(1)  # (Kv,)
    clusters = torch.arange(len(visible), device=partner.device)
    mutual = (similarity.argmax(0)[partner] == clusters) & (best >= min_similarity)
    label = torch.where(mutual, partner, len(infrared) + clusters).cpu().numpy()
    joint = np.concatenate(
        [np.where(labels["visible"] < 0, -1, label[labels["visible"]]), labels["infrared"]]
    )
    gapless = np.where(joint < 0, -1, np.searchsorted(np.unique(joint[joint >= 0]), joint))
    return dict(zip(MODALITIES, np.split(gapless, [len(labels["visible"])])))


if __name__ == "__main__":
    METHODS.register("nearest", Nearest)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--identities", type=int, default=60, help="identities to train on")
    parser.add_argument(
        "--data-dir", type=Path, default=Path("logs/examples"), help="folder of images and runs"
    )
    args, train_flags = parser.parse_known_args()

    folder = args.data_dir / f"identities_{args.identities}"
    build(folder, "sysu", "quick", identities=args.identities)
    flags = ["--method", "nearest", "--data-dir", str(folder), "--cache-dir", str(args.data_dir / "cache")]
    settings, _, _ = config.parse([*flags, *train_flags], "add_a_method.py", __doc__)
    results = {}
    for name, method in (("baseline", METHODS["baseline"].SETTINGS()), ("nearest", settings.method)):
        run = replace(settings.run, method=name, logs_dir=str(args.data_dir / "add_a_method" / name))
        row = train(replace(settings, run=run, method=method))
        results[name] = next(r for r in row["test"] if "all-search" in r["protocol"])
    for name, result in results.items():
        print(f"{name}: Rank-1 {result['R1']:.1f}, mAP {result['mAP']:.1f}")
