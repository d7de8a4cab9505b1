"""ADCA: Augmented Dual-Contrastive Aggregation Learning for Unsupervised Visible-Infrared Person Re-Identification, on synthetic people.

    python examples/adca_synthetic.py

Bin Yang, Mang Ye, Jun Chen, Zesen Wu. ACM MM 2022. Its parts are marked where they stand:
DCL, dual-contrastive learning; RCA, random channel augmentation; CMA, cross-modality memory aggregation (the second stage).
"""

import numpy as np
import torch
from synthetic_people import HOW, arguments, batches, draw_people, starting_model

from sdcl.association import aggregate, count_matches, one_to_one
from sdcl.clustering import pseudo_labels
from sdcl.data.augment import augmentation
from sdcl.datasets.sample import MODALITIES
from sdcl.inference.extract import embed
from sdcl.losses import cluster_contrast
from sdcl.memory import ClusterMemory, centroids

CLUSTERS = {"k1": 20, "k2": 6, "eps": 0.5, "min_samples": 4, "normalize": False}  # released: k1 30; eps 0.6, for thousands of images
TAU, MOMENTUM = 0.05, 0.9  # released: momentum 0.1, with 16 images of a cluster in a batch
LR = 1e-4  # released: 3.5e-4, with 256 infrared images in a batch
THRESHOLD, WEIGHT = 0.5, 0.9  # of CMA, as released

own = arguments(__doc__)
second_stage = own.epochs // 2  # released: 50 epochs each
stores, cameras, score = draw_people(own)
model = starting_model(stores, ("deep",), own.seed)
# RCA: a second view of each visible image shows one of its channels, so that colour counts less and the view is nearer to infrared
shown = {"visible": ("plain", "exchanged"), "infrared": ("plain",)}
views = {m: [augmentation(m, view, color_jitter=0, pad=4) for view in shown[m]] for m in MODALITIES}

print(f"before: {score(model)}")
for epoch in range(own.epochs):
    if epoch in (0, second_stage):
        optimizer = torch.optim.Adam(model.parameters(), lr=LR, weight_decay=5e-4)
    # DCL: pseudo-labels and a memory for each modality
    features = {m: embed(model, stores[m], m, unit_views=True, **HOW)["deep"] for m in MODALITIES}  # (N, D)
    found = {m: pseudo_labels(features[m], **CLUSTERS) for m in MODALITIES}
    ids = {m: found[m].ids for m in MODALITIES}
    M = {m: ClusterMemory(centroids(features[m], ids[m])) for m in MODALITIES}  # (K, D)
    # CMA: clusters whose images meet most often become pairs, and the visible row of a pair moves to the infrared one
    pairs = []
    if epoch >= second_stage:
        pairs = one_to_one(count_matches(features["visible"], features["infrared"], ids["visible"], ids["infrared"], THRESHOLD))
        M["visible"] = ClusterMemory(aggregate(M["visible"](), M["infrared"](), pairs, WEIGHT))

    model.train()
    losses = []
    for images, y, _ in batches(stores, cameras, ids, views, own.iters, (own.seed, epoch)):
        f = {m: branches["deep"] for m, branches in model(images).items()}  # (B, D), visible rows once for each view
        # DCL: -log softmax(f M^T / tau)[y] in each modality; both views of a visible image have one label
        loss = sum(cluster_contrast(f[m], y[m], M[m](), TAU) for m in MODALITIES)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        for m in MODALITIES:  # M[y] <- unit(momentum M[y] + (1 - momentum) f)
            M[m].update(f[m].detach(), y[m].numpy(), MOMENTUM)
        losses.append(loss.item())
    counts = ", ".join(f"{found[m].occupied} {m} clusters and {found[m].outliers} outliers" for m in MODALITIES)
    print(f"epoch {epoch}: {counts}, {len(pairs)} pairs of clusters; loss {np.mean(losses):.3f}", flush=True)
print(f"after: {score(model)}")
