"""Baseline: cluster contrast within each modality, nothing across (Dai et al., Cluster Contrast, ACCV 2022), on synthetic people.

    python examples/baseline_synthetic.py

extract -> pseudo-labels of each modality -> memories -> steps. The other `*_synthetic.py` differ from this by the parts of their method.
"""

import numpy as np
import torch
from synthetic_people import HOW, arguments, batches, draw_people, starting_model

from sdcl.clustering import pseudo_labels
from sdcl.data.augment import augmentation
from sdcl.datasets.sample import MODALITIES
from sdcl.inference.extract import embed
from sdcl.losses import cluster_contrast
from sdcl.memory import ClusterMemory, centroids

CLUSTERS = {"k1": 20, "k2": 6, "eps": 0.5, "min_samples": 4, "normalize": False}  # released: k1 30; eps 0.6, for thousands of images
TAU, MOMENTUM = 0.05, 0.9  # released: momentum 0.1, with 16 images of a cluster in a batch
LR = 1e-4  # released: 3.5e-4, with 256 infrared images in a batch

own = arguments(__doc__)
stores, cameras, score = draw_people(own)
model = starting_model(stores, ("deep",), own.seed)
optimizer = torch.optim.Adam(model.parameters(), lr=LR, weight_decay=5e-4)
views = {m: [augmentation(m, color_jitter=0, pad=4)] for m in MODALITIES}

print(f"before: {score(model)}")
for epoch in range(own.epochs):
    features = {m: embed(model, stores[m], m, unit_views=True, **HOW)["deep"] for m in MODALITIES}  # (N, D)
    found = {m: pseudo_labels(features[m], **CLUSTERS) for m in MODALITIES}
    ids = {m: found[m].ids for m in MODALITIES}
    M = {m: ClusterMemory(centroids(features[m], ids[m])) for m in MODALITIES}  # (K, D)

    model.train()
    losses = []
    for images, y, _ in batches(stores, cameras, ids, views, own.iters, (own.seed, epoch)):
        f = {m: branches["deep"] for m, branches in model(images).items()}  # (B, D)
        # ClusterNCE: -log softmax(f M^T / tau)[y]
        loss = sum(cluster_contrast(f[m], y[m], M[m](), TAU) for m in MODALITIES)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        for m in MODALITIES:  # M[y] <- unit(momentum M[y] + (1 - momentum) f)
            M[m].update(f[m].detach(), y[m].numpy(), MOMENTUM)
        losses.append(loss.item())
    counts = ", ".join(f"{found[m].occupied} {m} clusters and {found[m].outliers} outliers" for m in MODALITIES)
    print(f"epoch {epoch}: {counts}; loss {np.mean(losses):.3f}", flush=True)
print(f"after: {score(model)}")
