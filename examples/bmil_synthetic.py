"""BMIL: Modality-Aware Bias Mitigation and Invariance Learning for Unsupervised Visible-Infrared Person
Re-ID.

    python examples/bmil_synthetic.py        # on synthetic images

Menglin Wang, Xiaojin Gong, Jiachen Li, Genlin Ji. AAAI 2026. https://arxiv.org/abs/2512.07760
Its contributions are marked in the code: (1) bias-mitigated global association, both modalities clustered
together under a modality-aware distance (second stage); (2) split and contrast, a prototype per modality of
each common cluster; (3) hybrid memories of mean and hard rows. Memories are updated after the step that read
them; `sdcl.train` offers the released order as well.
"""

from itertools import repeat

import numpy as np
import torch
from synthetic_setup import arguments, batches, describe, extract, open_images, pretrained_model

from sdcl.clustering import joint_pseudo_labels, pseudo_labels
from sdcl.data.augment import augmentation
from sdcl.datasets import MODALITIES
from sdcl.losses import hybrid_contrast, multi_positive_contrast
from sdcl.memory import HybridMemory, centroids, split_prototypes

# Released: k1 30 and eps 0.6, for thousands of images; half of k1 is taken from each modality in (1).
CLUSTERING = {"k1": 20, "k2": 6, "eps": 0.5, "min_samples": 4}
TAU, MOMENTUM = 0.05, 0.9  # released: momentum 0.1, with 16 images of a cluster in a batch
LR = 1e-4  # released: 3.5e-4
MARGIN, SELECTED = 0.2, 50  # of (3) and (2), as released

args = arguments(__doc__)
second_stage = args.epochs // 2  # released: 50 epochs each
images = open_images(args)
model = pretrained_model(images, ("deep",), args.seed)  # released: ResNet-50 with non-local blocks
names = {"visible": ("plain", "exchanged"), "infrared": ("plain",)}
views = {m: [augmentation(m, view, color_jitter=0, pad=4) for view in names[m]] for m in MODALITIES}
sizes = {m: len(images.cameras[m]) for m in MODALITIES}  # N


def spread(values: np.ndarray, rows: np.ndarray, size: int) -> np.ndarray:
    """Values of the images `rows` among all images, -1 for the others. -> int (size,)"""
    of_all = np.full(size, -1)
    of_all[rows] = values
    return of_all


def take_step(loss: torch.Tensor, losses: list[float]) -> None:
    """One optimiser step; the loss is appended to the list."""
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    losses.append(loss.item())


print(f"before: {images.score(model)}")
for epoch in range(args.epochs):
    if epoch in (0, second_stage):
        optimizer = torch.optim.Adam(model.parameters(), lr=LR, weight_decay=5e-4)
    features = {m: f["deep"] for m, f in extract(model, images, unit_views=True).items()}  # (N, D)
    # A random half of the visible images is clustered alone, the other half with the infrared ones.
    order = np.random.default_rng((args.seed, epoch)).permutation(sizes["visible"])
    alone, together = np.array_split(order, 2)
    rows = {"visible": alone, "infrared": np.arange(sizes["infrared"])}
    clusters = {m: pseudo_labels(features[m][rows[m]], normalize=False, **CLUSTERING) for m in MODALITIES}
    labels = {m: spread(clusters[m].ids, rows[m], sizes[m]) for m in MODALITIES}
    # (3) A mean and a hard row of each cluster.
    M = {m: HybridMemory(centroids(features[m], labels[m])) for m in MODALITIES}
    steps = batches(images, labels, views, args.iters, (args.seed, epoch, 1))

    # (1) Rank lists and averages take as much from one modality as from the other.
    joint_steps, common = repeat(None), 0
    if epoch >= second_stage:
        both = torch.cat([features["visible"][together], features["infrared"]])
        joint = joint_pseudo_labels(both[: len(together)], both[len(together) :], **CLUSTERING)
        common = joint.occupied
        # (2) A prototype for each modality of each common cluster; Q holds them.
        parts = np.repeat([0, 1], [len(together), sizes["infrared"]])
        prototypes = split_prototypes(both, joint.ids, parts)
        Q, cluster_of = HybridMemory(prototypes.rows), torch.as_tensor(prototypes.clusters)  # (P, D), (P,)
        rows = {"visible": together, "infrared": np.arange(sizes["infrared"])}
        own = dict(zip(MODALITIES, np.split(prototypes.of_images, [len(together)])))
        target = {m: spread(own[m], rows[m], sizes[m]) for m in MODALITIES}  # the prototype of each image
        joint_steps = batches(images, target, views, args.iters, (args.seed, epoch, 2))

    model.train()
    losses, joint_losses = [], []
    for (x, y, _), joint_batch in zip(steps, joint_steps):
        f = {m: branches["deep"] for m, branches in model(x).items()}  # (B, D), visible images once per view
        # (3) 1/2 [NCE(f; hard rows) + max(0, NCE(f; mean rows) - margin)] of each modality
        take_step(sum(hybrid_contrast(f[m], y[m], *M[m](), TAU, MARGIN) for m in MODALITIES), losses)
        for m in MODALITIES:
            M[m].update(f[m].detach(), y[m].numpy(), MOMENTUM)
        if joint_batch is None:
            continue
        # (2) Another step: all prototypes of a cluster are positives, the most similar others negatives.
        x, y, _ = joint_batch
        f = {m: branches["deep"] for m, branches in model(x).items()}
        terms = [
            multi_positive_contrast(f[m], y[m], cluster_of, bank, TAU, SELECTED)
            for m in MODALITIES
            for bank in Q()
        ]
        take_step(0.25 * sum(terms), joint_losses)
        for m in MODALITIES:
            Q.update(f[m].detach(), y[m].numpy(), MOMENTUM)
    shown = [f"{np.mean(values):.3f}" for values in (losses, joint_losses) if values]
    print(
        f"epoch {epoch}: {describe(clusters)}, {common} common clusters; loss {', '.join(shown)}", flush=True
    )
print(f"after: {images.score(model)}")
