"""Baseline: cluster contrast within each modality and nothing across, on synthetic images.

    python examples/baseline_synthetic.py

Zuozhuo Dai et al. Cluster Contrast for Unsupervised Person Re-Identification. ACCV 2022.
https://arxiv.org/abs/2103.11568

features -> pseudo-labels of each modality -> memories -> steps. The other `*_synthetic.py` programs add the
contributions of their method to this loop.
"""

import numpy as np
import torch
from synthetic_setup import arguments, batches, describe, extract, open_images, pretrained_model

from sdcl.clustering import pseudo_labels
from sdcl.data.augment import augmentation
from sdcl.datasets import MODALITIES
from sdcl.losses import cluster_contrast
from sdcl.memory import ClusterMemory, centroids

# Released: k1 30 and eps 0.6, for thousands of images.
CLUSTERING = {"k1": 20, "k2": 6, "eps": 0.5, "min_samples": 4, "normalize": False}
TAU, MOMENTUM = 0.05, 0.9  # released: momentum 0.1, with 16 images of a cluster in a batch
LR = 1e-4  # released: 3.5e-4, with 256 infrared images in a batch

args = arguments(__doc__)
images = open_images(args)
model = pretrained_model(images, ("deep",), args.seed)
optimizer = torch.optim.Adam(model.parameters(), lr=LR, weight_decay=5e-4)
views = {m: [augmentation(m, color_jitter=0, pad=4)] for m in MODALITIES}

print(f"before: {images.score(model)}")
for epoch in range(args.epochs):
    features = {m: f["deep"] for m, f in extract(model, images, unit_views=True).items()}  # (N, D)
    clusters = {m: pseudo_labels(features[m], **CLUSTERING) for m in MODALITIES}
    labels = {m: clusters[m].ids for m in MODALITIES}
    M = {m: ClusterMemory(centroids(features[m], labels[m])) for m in MODALITIES}  # (K, D)

    model.train()
    losses = []
    for x, y, _ in batches(images, labels, views, args.iters, (args.seed, epoch)):
        f = {m: branches["deep"] for m, branches in model(x).items()}  # (B, D)
        # ClusterNCE: -log softmax(f M^T / tau)[y]
        loss = sum(cluster_contrast(f[m], y[m], M[m](), TAU) for m in MODALITIES)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        for m in MODALITIES:  # M[y] <- unit(momentum M[y] + (1 - momentum) f)
            M[m].update(f[m].detach(), y[m].numpy(), MOMENTUM)
        losses.append(loss.item())
    print(f"epoch {epoch}: {describe(clusters)}; loss {np.mean(losses):.3f}", flush=True)
print(f"after: {images.score(model)}")
