"""PGM: Unsupervised Visible-Infrared Person ReID via Progressive Graph Matching and Alternate Learning.

    python examples/pgm_synthetic.py        # on synthetic images

Zesen Wu, Mang Ye. CVPR 2023. Released code: https://github.com/zesenwu23/USL-VI-ReID
Its contributions are marked in the code: PGM, progressive graph matching, and ACCL, alternate cross
contrastive learning (second stage). Memories are updated after the step that read them; `sdcl.train` offers
the released order as well.
"""

import numpy as np
import torch
from synthetic_setup import arguments, batches, describe, extract, open_images, pretrained_model

from sdcl.association import match_clusters
from sdcl.clustering import pseudo_labels
from sdcl.data.augment import augmentation
from sdcl.datasets import MODALITIES
from sdcl.losses import cluster_contrast
from sdcl.memory import ClusterMemory, centroids

# Released: k1 30 and eps 0.6, for thousands of images.
CLUSTERING = {"k1": 20, "k2": 6, "eps": 0.5, "min_samples": 4, "normalize": False}
TAU, MOMENTUM = 0.05, 0.9  # released: momentum 0.2, with 16 images of a cluster in a batch
LR = 1e-4  # released: 3.5e-4, with 256 infrared images in a batch
CROSS_WEIGHT = 0.25  # of ACCL, as released

args = arguments(__doc__)
second_stage = args.epochs // 2  # released: 50 epochs each
images = open_images(args)
model = pretrained_model(images, ("deep",), args.seed)  # released: ResNet-50 with non-local blocks
names = {"visible": ("plain", "exchanged"), "infrared": ("plain",)}
views = {m: [augmentation(m, view, color_jitter=0, pad=4) for view in names[m]] for m in MODALITIES}

print(f"before: {images.score(model)}")
for epoch in range(args.epochs):
    if epoch in (0, second_stage):
        optimizer = torch.optim.Adam(model.parameters(), lr=LR, weight_decay=5e-4)
    # Pseudo-labels and a memory for each modality.
    features = {m: f["deep"] for m, f in extract(model, images, unit_views=True).items()}  # (N, D)
    clusters = {m: pseudo_labels(features[m], **CLUSTERING) for m in MODALITIES}
    labels = {m: clusters[m].ids for m in MODALITIES}
    M = {m: ClusterMemory(centroids(features[m], labels[m])) for m in MODALITIES}  # (K, D)
    # PGM: clusters one to one by the Hungarian algorithm; those that are left over once more.
    partners = {m: np.full(len(M[m]()), -1) for m in MODALITIES}  # (K,), -1: no partner
    if epoch >= second_stage:
        partners = dict(zip(MODALITIES, match_clusters(*(M[m]() for m in MODALITIES))))
    # ACCL: images of one modality meet the memory of the other; the sides change with the epoch.
    turn = (epoch - second_stage) % 2
    anchor, other = MODALITIES[turn], MODALITIES[1 - turn]

    model.train()
    losses = []
    for x, y, _ in batches(images, labels, views, args.iters, (args.seed, epoch)):
        f = {m: branches["deep"] for m, branches in model(x).items()}  # (B, D), visible images once per view
        # -log softmax(f M^T / tau)[y] within each modality.
        loss = sum(cluster_contrast(f[m], y[m], M[m](), TAU) for m in MODALITIES)
        # ACCL: the same with the memory of the other modality and the partner of y.
        partner = torch.as_tensor(partners[anchor])[y[anchor]]  # (B,)
        has_partner = partner >= 0
        if has_partner.any():
            cross = cluster_contrast(f[anchor][has_partner], partner[has_partner], M[other](), TAU)
            loss = loss + CROSS_WEIGHT * cross
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        # M[y] <- unit(momentum M[y] + (1 - momentum) f); the anchor's images move the other memory as well.
        M[other].update(f[anchor][has_partner].detach(), partner[has_partner].numpy(), MOMENTUM)
        for m in MODALITIES:
            M[m].update(f[m].detach(), y[m].numpy(), MOMENTUM)
        losses.append(loss.item())
    matched = int((partners["visible"] >= 0).sum())
    print(
        f"epoch {epoch}: {describe(clusters)}, {matched} visible clusters matched; "
        f"loss {np.mean(losses):.3f}",
        flush=True,
    )
print(f"after: {images.score(model)}")
