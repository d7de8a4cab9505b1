"""A method of one's own in one file, trained by the machinery that all methods share, beside the baseline.

    python examples/add_a_method.py
    python examples/add_a_method.py --epochs 10 --arch resnet_mini --pretrained none     # every flag of python -m sdcl.train

The idea, the smallest that crosses the modalities: where a visible and an infrared cluster are each other's nearest, they are taken to be
one person, and share a label and a memory row. All other clusters stay beside them in the same memory, as negatives.
A method that shall stay goes into `sdcl/methods/`; README, "Add a method".
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from sdcl.config import Settings, parse
from sdcl.datasets.sample import MODALITIES
from sdcl.memory import centroids
from sdcl.methods import METHODS, Stage
from sdcl.methods.cluster_contrast import ClusterContrast, cluster_each, shared
from sdcl.methods.interface import Extract, Features, Once, Rows
from sdcl.synthetic.dataset import build
from sdcl.train import train

# The settings of the quick start, for fewer steps; what is said on the command line overrides them.
SMALL = "--method baseline --no-shallow --second-view --epochs 6 --iters 20 --optimizer adam --lr 1e-4 --eval-step 1000".split()


def unite(features: Features, ids: Rows) -> Rows:
    """One label space for both modalities: nearest pairs of clusters share a label, the other visible clusters come after the infrared ones.

    Args:
        features: modality -> branch -> (N, D). ids: modality -> int (N,), -1 is an outlier.

    Returns:
        modality -> int (N,), numbered without a gap over both, because row r of the memory belongs to the r-th label.
    """
    visible, infrared = (centroids(features[m]["deep"], ids[m]) for m in MODALITIES)  # (Kv, D), (Kr, D)
    likeness = visible @ infrared.T
    partner = likeness.argmax(1)  # (Kv,)
    own = torch.arange(len(visible), device=partner.device)
    label = torch.where(likeness.argmax(0)[partner] == own, partner, len(infrared) + own).cpu().numpy()
    both = np.concatenate([np.where(ids["visible"] < 0, -1, label[ids["visible"]]), ids["infrared"]])
    gapless = np.where(both < 0, -1, np.searchsorted(np.unique(both[both >= 0]), both))
    return dict(zip(MODALITIES, np.split(gapless, [len(ids["visible"])])))


class Nearest:
    """What `sdcl.methods.interface.Method` asks for: one stage per epoch."""

    restarts: tuple[int, ...] = ()
    unit_views = True

    def __init__(self, settings: Settings, cameras: Rows):
        self.cluster, self.memory, self.batch = settings.cluster, settings.memory, settings.batch

    def stages(self, epoch: int, extract: Extract, once: Once) -> Iterator[Stage]:
        features = extract()
        found = cluster_each(features, self.cluster, once, epoch)
        ids = once(lambda: unite(features, {m: found[m].ids for m in MODALITIES}))
        contrast = ClusterContrast(shared(features, ids), self.memory, first=epoch == 0)
        yield Stage("nearest", ids, self.batch.iters, contrast, found)


flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
flags.add_argument("--identities", type=int, default=60, help="people to train on; 0.4 times as many others are searched for")
flags.add_argument("--data-dir", type=Path, default=Path("logs/examples"), help="where people are drawn and runs are kept")
own, more = flags.parse_known_args()

people = own.data_dir / f"people_{own.identities}"
build(people, "sysu", "quick", identities=own.identities)
quick = ["--config", str(Path(__file__).parent / "quickstart.json"), "--data-dir", str(people), "--cache-dir", str(own.data_dir / "cache")]
settings, _, _ = parse([*quick, *SMALL, *more], "add_a_method.py", __doc__)
METHODS["nearest"] = Nearest
results = {}
for name in ("baseline", "nearest"):
    run = replace(settings.run, method=name, logs_dir=str(own.data_dir / "own_method" / name))
    row = train(replace(settings, run=run))
    results[name] = next(r for r in row["test"] if "all-search" in r["protocol"])
for name, result in results.items():
    print(f"{name}: Rank-1 {result['R1']:.1f}, mAP {result['mAP']:.1f}")
