"""What the features of a run link: shares of right neighbours, clusters and associations, by the identities.

    python benchmarks/links.py RUN [RUN ...]

RUN: a run folder or a checkpoint, such as RUN/stage_contrast.pt. The training images are embedded, clustered
and associated once with the settings of the run; nothing is trained, and nothing that trains reads this.

Legend: N images, D dimensions; a share is percent of the images that have such a link.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import common
import numpy as np
import torch
import torch.nn.functional as F
from sklearn.metrics import adjusted_rand_score

from sdcl import association
from sdcl.analysis.feature_health import feature_health
from sdcl.analysis.label_quality import purity
from sdcl.config import Settings
from sdcl.datasets import MODALITIES, open_dataset
from sdcl.datasets.sample import UNKNOWN
from sdcl.inference.extract import extract_features
from sdcl.inference.trained_model import TrainedModel
from sdcl.losses import agreeing_neighbors
from sdcl.memory import centroids
from sdcl.methods import parts
from sdcl.methods.interface import Features
from sdcl.runtime import distributed
from sdcl.training.images import TrainingImages

CHUNK = 1024  # images whose similarities are held at once


@dataclass(frozen=True)
class Embedded:
    """The training images of a run as its model sees them.

    Args:
        features: modality -> branch -> (N, D). identities: modality -> int (N,).
    """

    settings: Settings
    features: Features
    identities: dict[str, np.ndarray]


def embed(run: Path) -> Embedded:
    """Embed the training images with the model of a run.

    Raises:
        UserError: no checkpoint there, or images that cannot be read. SystemExit: identities are not known.
    """
    processes = distributed.start("auto")
    trained = TrainedModel.open(run)
    trained.model.to(processes.device)
    settings = trained.settings
    data = settings.data
    dataset = open_dataset(data.dataset, settings.data_dir, trial=data.trial, allow_incomplete=True)
    identities = {m: np.array([sample.identity for sample in dataset.train[m]]) for m in MODALITIES}
    if any((ids == UNKNOWN).any() for ids in identities.values()):
        raise SystemExit(f"{run}: identities of its training images are not known, so no link can be judged")
    images = TrainingImages.open(dataset, settings, processes)
    features = {
        m: extract_features(
            trained.model,
            images.extract[m],
            m,
            batch_size=settings.model.embed_batch_size,
            bf16=processes.bf16(settings.run.precision),
            title="training",
        )
        for m in MODALITIES
    }
    return Embedded(settings, features, identities)


def row_of(embedded: Embedded) -> list[str]:
    """The cells of one run, in the order of HEADER."""
    settings, features, identities = embedded.settings, embedded.features, embedded.identities
    labels = {
        m: parts.cluster(parts.side_by_side(features[m]), settings.cluster, normalize=True).ids
        for m in MODALITIES
    }
    cells = [f"{feature_health(features['visible']['deep'])['effective_rank']:.0f}"]
    cells += [percent(right_nearest(embedded, *pair)) for pair in (MODALITIES, MODALITIES[::-1])]
    for m in MODALITIES:
        kept = labels[m] >= 0
        single = np.where(kept, labels[m], labels[m].max() + 1 + np.arange(len(kept)))
        ari, pure = adjusted_rand_score(identities[m], single), purity(labels[m][kept], identities[m][kept])
        cells.append(f"{labels[m].max() + 1} / {percent(1 - kept.mean())} / {percent(pure)} / {ari:.2f}")
    cells.append(percent(right_centroids(embedded, labels)))
    k = getattr(settings.method, "cra_k", 20)
    voted = association.collaborative_ranking(
        features["visible"], features["infrared"], labels["infrared"], k
    )
    smoothed = association.majority_of_neighbors(voted, features["visible"])
    people = majority_identities(labels["infrared"], identities["infrared"])
    for linked in (voted, smoothed):
        kept = linked >= 0
        right = people[linked[kept]] == identities["visible"][kept]
        cells.append(f"{percent(kept.mean())} / {percent(right.mean() if kept.any() else 0)}")
    threshold = getattr(settings.method, "cnl_threshold", 0.9)
    for pair in (("visible", "visible"), ("infrared", "infrared"), ("infrared", "visible")):
        count, right = agreeing(embedded, *pair, threshold)
        cells.append(f"{count:.1f} / {percent(right)}")
    return cells


HEADER = (
    "run",
    "effective rank",
    "right nearest, v to i",
    "i to v",
    "visible: clusters / outliers / purity / ARI",
    "infrared",
    "right centroids, v to i",
    "CRA: linked / right",
    "smoothed",
    "CNL v-v: neighbours / right",
    "i-i",
    "i-v",
)


def percent(share: float) -> str:
    return f"{100 * share:.0f}%"


def chunks(count: int) -> Iterator[slice]:
    return (slice(first, first + CHUNK) for first in range(0, count, CHUNK))


def right_nearest(embedded: Embedded, queries: str, keys: str) -> float:
    """Share of the images of one modality whose nearest image of the other one shows the same person."""
    query, key = (F.normalize(parts.side_by_side(embedded.features[m])) for m in (queries, keys))
    nearest = np.concatenate([(query[chunk] @ key.T).argmax(1).cpu().numpy() for chunk in chunks(len(query))])
    return float((embedded.identities[keys][nearest] == embedded.identities[queries]).mean())


def majority_identities(labels: np.ndarray, identities: np.ndarray) -> np.ndarray:
    """int (K,): the most frequent identity of each of K clusters, the smallest of equally frequent ones."""
    members = (identities[labels == cluster] for cluster in range(labels.max() + 1))
    return np.array([np.unique(ids)[np.unique(ids, return_counts=True)[1].argmax()] for ids in members])


def right_centroids(embedded: Embedded, labels: dict[str, np.ndarray]) -> float:
    """Share of the visible clusters whose nearest infrared centroid is of a cluster of the same person."""
    people = {m: majority_identities(labels[m], embedded.identities[m]) for m in MODALITIES}
    means = [centroids(parts.side_by_side(embedded.features[m]), labels[m]) for m in MODALITIES]
    visible, infrared = (F.normalize(mean) for mean in means)
    nearest = (visible @ infrared.T).argmax(1).cpu().numpy()
    return float((people["infrared"][nearest] == people["visible"]).mean())


def agreeing(embedded: Embedded, anchors: str, neighbors: str, threshold: float) -> tuple[float, float]:
    """CNL's neighbours of an anchor but itself: their mean number, and the share that shows its person."""
    units = {m: {b: F.normalize(f) for b, f in embedded.features[m].items()} for m in (anchors, neighbors)}
    device = units[anchors]["deep"].device
    identities = {m: torch.as_tensor(embedded.identities[m], device=device) for m in (anchors, neighbors)}
    count = right = 0
    for chunk in chunks(len(identities[anchors])):
        mask = agreeing_neighbors(
            {b: f[chunk] for b, f in units[anchors].items()}, units[neighbors], threshold
        )
        if anchors == neighbors:
            mask[torch.arange(len(mask)), torch.arange(len(mask)) + chunk.start] = False
        same = identities[anchors][chunk][:, None] == identities[neighbors][None]
        count += int(mask.sum())
        right += int((mask & same).sum())
    return count / len(identities[anchors]), right / max(count, 1)


@torch.no_grad()
def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--threads", type=int, default=1, help="of the arithmetic")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    common.table(HEADER, ([str(run), *row_of(embed(run))] for run in args.runs))
    return 0


if __name__ == "__main__":
    sys.exit(main())
