"""ADCA: Augmented Dual-Contrastive Aggregation Learning for Unsupervised Visible-Infrared Person Re-ID.

    python examples/adca_synthetic.py        # on synthetic images

Bin Yang, Mang Ye, Jun Chen, Zesen Wu. ACM MM 2022. https://doi.org/10.1145/3503161.3548198
Its contributions are marked in the code: DCL, dual-contrastive learning; RCA, random channel augmentation;
CMA, cross-modality memory aggregation (second stage).
"""

import numpy as np
import torch
from synthetic_setup import arguments, batches, describe, extract, open_images, pretrained_model

from sdcl.association import aggregate, count_matches, one_to_one
from sdcl.clustering import pseudo_labels
from sdcl.data.augment import augmentation
from sdcl.datasets import MODALITIES
from sdcl.losses import cluster_contrast
from sdcl.memory import ClusterMemory, centroids

# Released: k1 30 and eps 0.6, for thousands of images.
CLUSTERING = {"k1": 20, "k2": 6, "eps": 0.5, "min_samples": 4, "normalize": False}
TAU, MOMENTUM = 0.05, 0.9  # released: momentum 0.1, with 16 images of a cluster in a batch
LR = 1e-4  # released: 3.5e-4, with 256 infrared images in a batch
THRESHOLD, WEIGHT = 0.5, 0.9  # of CMA, as released

args = arguments(__doc__)
second_stage = args.epochs // 2  # released: 50 epochs each
images = open_images(args)
model = pretrained_model(images, ("deep",), args.seed)
# RCA: a second view of each visible image shows one of its channels, which brings it nearer to infrared.
names = {"visible": ("plain", "exchanged"), "infrared": ("plain",)}
views = {m: [augmentation(m, view, color_jitter=0, pad=4) for view in names[m]] for m in MODALITIES}

print(f"before: {images.score(model)}")
for epoch in range(args.epochs):
    if epoch in (0, second_stage):
        optimizer = torch.optim.Adam(model.parameters(), lr=LR, weight_decay=5e-4)
    # DCL: pseudo-labels and a memory for each modality.
    features = {m: f["deep"] for m, f in extract(model, images, unit_views=True).items()}  # (N, D)
    clusters = {m: pseudo_labels(features[m], **CLUSTERING) for m in MODALITIES}
    labels = {m: clusters[m].ids for m in MODALITIES}
    M = {m: ClusterMemory(centroids(features[m], labels[m])) for m in MODALITIES}  # (K, D)
    # CMA: clusters with most matching images become pairs; visible prototypes move to the infrared ones.
    pairs = []
    if epoch >= second_stage:
        matches = count_matches(
            features["visible"], features["infrared"], labels["visible"], labels["infrared"], THRESHOLD
        )
        pairs = one_to_one(matches)
        M["visible"] = ClusterMemory(aggregate(M["visible"](), M["infrared"](), pairs, WEIGHT))

    model.train()
    losses = []
    for x, y, _ in batches(images, labels, views, args.iters, (args.seed, epoch)):
        f = {m: branches["deep"] for m, branches in model(x).items()}  # (B, D), visible images once per view
        # DCL: -log softmax(f M^T / tau)[y] in each modality; both views of a visible image have one label.
        loss = sum(cluster_contrast(f[m], y[m], M[m](), TAU) for m in MODALITIES)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        for m in MODALITIES:  # M[y] <- unit(momentum M[y] + (1 - momentum) f)
            M[m].update(f[m].detach(), y[m].numpy(), MOMENTUM)
        losses.append(loss.item())
    print(
        f"epoch {epoch}: {describe(clusters)}, {len(pairs)} pairs of clusters; loss {np.mean(losses):.3f}",
        flush=True,
    )
print(f"after: {images.score(model)}")
