"""GUR: Towards Grand Unified Representation Learning for Unsupervised Visible-Infrared Person Re-ID.

    python examples/gur_synthetic.py        # on synthetic images

Bin Yang, Jun Chen, Mang Ye. ICCV 2023. https://doi.org/10.1109/ICCV51070.2023.01016
Its contributions are marked in the code: bottom-up domain learning (1) within cameras, (2) across cameras and
(3) across modalities; CAE, cross-memory association embedding; CMLU, cross-modality label unification.
Cameras are clustered once an epoch; the released code and `sdcl.train` cluster before each pair of cameras.
"""

from itertools import product

import numpy as np
import torch
from synthetic_setup import arguments, batches, describe, extract, open_images, pretrained_model

from sdcl.association import association_embedding, majority_of_neighbors, propagate_labels
from sdcl.clustering import pseudo_labels
from sdcl.data.augment import augmentation
from sdcl.datasets import MODALITIES
from sdcl.losses import cluster_contrast
from sdcl.memory import ClusterMemory, centroids

# The embedding of CAE is not of unit length. Released: k1 30, eps 0.6, within a camera 0.55.
CLUSTERING = {"k1": 20, "k2": 6, "eps": 0.5, "min_samples": 4, "normalize": False}
TAU, MOMENTUM = 0.05, 0.9  # released: momentum 0.1, with 16 images of a cluster in a batch
LR = 1e-4  # released: 3.5e-4, with 256 infrared images in a batch
CAMERA_ITERS, K = 2, 8  # steps of a pair of cameras; neighbours of CMLU. Released: 50, 20

args = arguments(__doc__, iters=10)
PROPAGATE, SMOOTH = args.epochs // 2, 2 * args.epochs // 3  # first epochs of CMLU. Released: 30, 40 of 50
JOINT_UNTIL = 2 * args.epochs // 3  # first epoch without (3). Released: 40 of 50
images = open_images(args)
cameras = images.cameras
model = pretrained_model(images, ("deep",), args.seed)
optimizer = torch.optim.Adam(model.parameters(), lr=LR, weight_decay=5e-4)
names = {"visible": ("plain", "exchanged"), "infrared": ("plain",)}
views = {m: [augmentation(m, view, color_jitter=0, pad=4) for view in names[m]] for m in MODALITIES}


def deep_features() -> dict[str, torch.Tensor]:
    """modality -> (N, D) of the present model."""
    return {m: f["deep"] for m, f in extract(model, images, unit_views=True).items()}


def train(labels: dict, M: dict, steps: int, *stage: int) -> float:
    """Train by -log softmax(f M^T / tau)[y] in each modality and update the memories. -> mean loss."""
    model.train()
    mean = 0.0
    for x, y, _ in batches(images, labels, views, steps, (args.seed, *stage)):
        f = {m: branches["deep"] for m, branches in model(x).items()}  # (B, D)
        loss = sum(cluster_contrast(f[m], y[m], M[m](), TAU) for m in MODALITIES)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        for m in MODALITIES:  # M[y] <- unit(momentum M[y] + (1 - momentum) f)
            M[m].update(f[m].detach(), y[m].numpy(), MOMENTUM)
        mean += loss.item() / steps
    return mean


print(f"before: {images.score(model)}")
for epoch in range(args.epochs):
    # (1) Within cameras: each is clustered alone; every pair of a visible and an infrared camera is trained.
    features = deep_features()
    camera_labels, camera_prototypes = {}, {m: {} for m in MODALITIES}
    for m in MODALITIES:
        for c in np.unique(cameras[m]):
            camera_labels[m, c] = np.full(len(cameras[m]), -1)
            camera_labels[m, c][cameras[m] == c] = pseudo_labels(
                features[m][cameras[m] == c], **CLUSTERING
            ).ids
    for v, i in product(np.unique(cameras["visible"]), np.unique(cameras["infrared"])):
        labels = {"visible": camera_labels["visible", v], "infrared": camera_labels["infrared", i]}
        M = {m: ClusterMemory(centroids(features[m], labels[m])) for m in MODALITIES}  # (K of the camera, D)
        loss_1 = train(labels, M, CAMERA_ITERS, epoch, 1, v, i)
        camera_prototypes["visible"][v], camera_prototypes["infrared"][i] = M["visible"](), M["infrared"]()

    # (2) Across cameras. CAE: images are clustered by their softmaxes over the prototypes of all cameras.
    features = deep_features()
    clusters = {}
    for m in MODALITIES:
        embedding = association_embedding(features[m], list(camera_prototypes[m].values()))
        clusters[m] = pseudo_labels(embedding, **CLUSTERING)
    labels = {m: clusters[m].ids for m in MODALITIES}
    M = modal = {m: ClusterMemory(centroids(features[m], labels[m])) for m in MODALITIES}
    # CMLU: visible images take infrared labels by affinity, later smoothed among neighbours; one memory.
    if epoch >= PROPAGATE:
        labels["visible"] = propagate_labels(features["visible"], features["infrared"], labels["infrared"], K)
        if epoch >= SMOOTH:
            labels["visible"] = majority_of_neighbors(labels["visible"], {"deep": features["visible"]}, K)
        M = dict.fromkeys(MODALITIES, modal["infrared"])
    loss_2 = train(labels, M, args.iters, epoch, 2)
    trained = len(set(labels["visible"]) - {-1})
    losses = f"{loss_1:.3f}, {loss_2:.3f}"
    print(f"epoch {epoch}: {describe(clusters)}, {trained} visible labels trained; loss {losses}", flush=True)

    # (3) Across modalities: all images are clustered together by CAE over the prototypes of both modalities.
    if epoch < JOINT_UNTIL:
        features = deep_features()
        rows = torch.cat([features[m] for m in MODALITIES])
        joint = pseudo_labels(association_embedding(rows, [modal[m]() for m in MODALITIES]), **CLUSTERING)
        labels = dict(zip(MODALITIES, np.split(joint.ids, [len(features["visible"])])))
        memory = ClusterMemory(centroids(rows, joint.ids))
        loss_3 = train(labels, dict.fromkeys(MODALITIES, memory), args.iters, epoch, 3)
        print(f"         {joint.occupied} clusters of both modalities; loss {loss_3:.3f}", flush=True)
print(f"after: {images.score(model)}")
