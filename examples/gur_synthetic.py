"""GUR: Towards Grand Unified Representation Learning for Unsupervised Visible-Infrared Person Re-Identification, on synthetic people.

    python examples/gur_synthetic.py

Bin Yang, Jun Chen, Mang Ye. ICCV 2023. Its parts are marked where they stand: bottom-up domain learning in three steps, (1) within
cameras, (2) across cameras, (3) across modalities; CAE, cross-memory association embedding; CMLU, cross-modality label unification.
The cameras are embedded and clustered once an epoch; the release does so anew before each of their pairs, as `sdcl.train` does.
"""

from itertools import product

import numpy as np
import torch
from synthetic_people import HOW, arguments, batches, draw_people, starting_model

from sdcl.association import association_embedding, majority_of_neighbors, propagate_labels
from sdcl.clustering import pseudo_labels
from sdcl.data.augment import augmentation
from sdcl.datasets.sample import MODALITIES
from sdcl.inference.extract import embed
from sdcl.losses import cluster_contrast
from sdcl.memory import ClusterMemory, centroids

# What CAE describes is not of unit length on purpose, so nothing is brought to it before clustering.
CLUSTERS = {"k1": 20, "k2": 6, "eps": 0.5, "min_samples": 4, "normalize": False}  # released: k1 30, eps 0.6, within a camera 0.55
TAU, MOMENTUM = 0.05, 0.9  # released: momentum 0.1, with 16 images of a cluster in a batch
LR = 1e-4  # released: 3.5e-4, with 256 infrared images in a batch
CAMERA_ITERS, K = 2, 8  # steps of a pair of cameras; voters of CMLU. Released: 50, 20

own = arguments(__doc__, iters=10)
PROPAGATE, JOINT_UNTIL, STRUCTURE = own.epochs // 2, 2 * own.epochs // 3, 2 * own.epochs // 3  # released: 30, 40, 40 of 50 epochs
stores, cameras, score = draw_people(own)
model = starting_model(stores, ("deep",), own.seed)
optimizer = torch.optim.Adam(model.parameters(), lr=LR, weight_decay=5e-4)
shown = {"visible": ("plain", "exchanged"), "infrared": ("plain",)}
views = {m: [augmentation(m, view, color_jitter=0, pad=4) for view in shown[m]] for m in MODALITIES}


def extract() -> dict[str, torch.Tensor]:
    """modality -> (N, D) at the model's present state."""
    return {m: embed(model, stores[m], m, unit_views=True, **HOW)["deep"] for m in MODALITIES}


def train(ids: dict, M: dict, iterations: int, *key: int) -> float:
    """Steps of -log softmax(f M^T / tau)[y] in each modality, which move the memories on. Returns the mean loss."""
    model.train()
    mean = 0.0
    for images, y, _ in batches(stores, cameras, ids, views, iterations, (own.seed, *key)):
        f = {m: branches["deep"] for m, branches in model(images).items()}  # (B, D)
        loss = sum(cluster_contrast(f[m], y[m], M[m](), TAU) for m in MODALITIES)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        for m in MODALITIES:  # M[y] <- unit(momentum M[y] + (1 - momentum) f)
            M[m].update(f[m].detach(), y[m].numpy(), MOMENTUM)
        mean += loss.item() / iterations
    return mean


print(f"before: {score(model)}")
for epoch in range(own.epochs):
    # (1) within cameras: each camera has its own clusters; every pair of a visible and an infrared camera trains alone
    features = extract()
    own_ids, seen_by = {}, {m: {} for m in MODALITIES}
    for m in MODALITIES:
        for c in np.unique(cameras[m]):
            own_ids[m, c] = np.full(len(cameras[m]), -1)
            own_ids[m, c][cameras[m] == c] = pseudo_labels(features[m][cameras[m] == c], **CLUSTERS).ids
    for v, i in product(np.unique(cameras["visible"]), np.unique(cameras["infrared"])):
        ids = {"visible": own_ids["visible", v], "infrared": own_ids["infrared", i]}
        M = {m: ClusterMemory(centroids(features[m], ids[m])) for m in MODALITIES}  # (K of the camera, D)
        loss_1 = train(ids, M, CAMERA_ITERS, epoch, 1, v, i)
        seen_by["visible"][v], seen_by["infrared"][i] = M["visible"](), M["infrared"]()

    # (2) across cameras, CAE: an image is clustered by its softmaxes over the memories that the cameras' training left
    features = extract()
    found = {m: pseudo_labels(association_embedding(features[m], list(seen_by[m].values())), **CLUSTERS) for m in MODALITIES}
    ids = {m: found[m].ids for m in MODALITIES}
    M = modal = {m: ClusterMemory(centroids(features[m], ids[m])) for m in MODALITIES}
    # CMLU: infrared labels for the visible images by their affinity to infrared images, later smoothed among themselves; one memory
    if epoch >= PROPAGATE:
        ids["visible"] = propagate_labels(features["visible"], features["infrared"], ids["infrared"], K)
        if epoch >= STRUCTURE:
            ids["visible"] = majority_of_neighbors(ids["visible"], {"deep": features["visible"]}, K)
        M = dict.fromkeys(MODALITIES, modal["infrared"])
    loss_2 = train(ids, M, own.iters, epoch, 2)
    counts = ", ".join(f"{found[m].occupied} {m} clusters and {found[m].outliers} outliers" for m in MODALITIES)
    labels = len(set(ids["visible"]) - {-1})
    print(f"epoch {epoch}: {counts}, visible trained on {labels} labels; loss {loss_1:.3f}, {loss_2:.3f}", flush=True)

    # (3) across modalities: all images are clustered together by CAE over the memories of the modalities
    if epoch < JOINT_UNTIL:
        features = extract()
        rows = torch.cat([features[m] for m in MODALITIES])
        both = pseudo_labels(association_embedding(rows, [modal[m]() for m in MODALITIES]), **CLUSTERS)
        ids = dict(zip(MODALITIES, np.split(both.ids, [len(features["visible"])])))
        loss_3 = train(ids, dict.fromkeys(MODALITIES, ClusterMemory(centroids(rows, both.ids))), own.iters, epoch, 3)
        print(f"         {both.occupied} clusters of both modalities; loss {loss_3:.3f}", flush=True)
print(f"after: {score(model)}")
