"""SDCL: Shallow-Deep Collaborative Learning for Unsupervised Visible-Infrared Person Re-Identification, on synthetic people.

    python examples/sdcl_synthetic.py

Bin Yang, Jun Chen, Mang Ye. CVPR 2024. Its parts are marked where they stand: the shallow and the deep branch; CNL, collaborative
neighbour learning; CRA, collaborative ranking association (from epoch S). The arithmetic is the clean one: every memory moves after the
step that read it, and the visible-to-infrared term of CNL weighs as much as the other. `sdcl.train` can do it as released, too.
"""

import numpy as np
import torch
from synthetic_people import HOW, arguments, batches, draw_people, starting_model

from sdcl.association import collaborative_ranking, majority_of_neighbors
from sdcl.clustering import pseudo_labels
from sdcl.data.augment import augmentation
from sdcl.datasets.sample import MODALITIES
from sdcl.inference.extract import embed
from sdcl.losses import agreeing_neighbors, cluster_contrast, neighbor_contrast
from sdcl.memory import ClusterMemory, InstanceMemory, centroids

CLUSTERS = {"k1": 20, "k2": 6, "eps": 0.5, "min_samples": 4}  # released: k1 30; eps 0.6, for thousands of images
TAU, MOMENTUM = 0.05, 0.9  # released: momentum 0.1, with 16 images of a cluster in a batch
LR = 1e-4  # Adam; released: SGD, 3.5e-4
THRESHOLD, INSTANCE_MOMENTUM = 0.9, 0.9  # of CNL, as released
BRANCH_WEIGHT = {"deep": 1.0, "shallow": 0.5}  # of CNL's terms, as released
CRA_K, SMOOTHING_K = 8, 5  # released: 20, 5; a person has about ten infrared images here
CROSS = [("visible", "infrared"), ("infrared", "visible")]  # CNL across modalities: in even, in odd epochs
CROSS_FROM = 1  # first epoch of it; released: 10

own = arguments(__doc__)
S = own.epochs // 2  # first epoch of CRA; released: 30 of 50
stores, cameras, score = draw_people(own)
model = starting_model(stores, ("deep", "shallow"), own.seed)
optimizer = torch.optim.Adam(model.parameters(), lr=LR, weight_decay=5e-4)
shown = {"visible": ("plain", "exchanged"), "infrared": ("plain",)}
views = {m: [augmentation(m, view, pad=4) for view in shown[m]] for m in MODALITIES}

print(f"before: {score(model)}")
for epoch in range(own.epochs):
    features = {m: embed(model, stores[m], m, **HOW) for m in MODALITIES}  # modality -> branch -> (N, D)
    # one label for both branches: halves joined, then of unit length as a whole
    found = {m: pseudo_labels(torch.cat([features[m]["deep"], features[m]["shallow"]], dim=1), **CLUSTERS) for m in MODALITIES}
    ids = {m: found[m].ids for m in MODALITIES}
    M = {m: {b: ClusterMemory(centroids(features[m][b], ids[m])) for b in model.branches} for m in MODALITIES}  # (K, D)
    # CRA: a visible image takes the infrared label on which its deep and its shallow rank list agree most; its neighbours vote
    if epoch >= S:
        linked = collaborative_ranking(features["visible"], features["infrared"], ids["infrared"], CRA_K)
        linked = majority_of_neighbors(linked, features["visible"], SMOOTHING_K)
        ids["visible"] = np.where(ids["visible"] == -1, -1, linked)
        both = np.concatenate([ids[m] for m in MODALITIES])
        shared = {b: ClusterMemory(centroids(torch.cat([features[m][b] for m in MODALITIES]), both)) for b in model.branches}
        M = dict.fromkeys(MODALITIES, shared)
    # CNL: a row for every image; weights of (anchor's modality, neighbour's modality)
    W = {m: {b: InstanceMemory(features[m][b]) for b in model.branches} for m in MODALITIES}  # (N, D)
    weights = {(m, m): 1.0 if epoch < S else 0.1 for m in MODALITIES}
    if epoch >= CROSS_FROM:
        weights[CROSS[epoch % 2]] = 0.5 if epoch < S else 0.1

    model.train()
    losses = []
    for images, y, indexes in batches(stores, cameras, ids, views, own.iters, (own.seed, epoch)):
        f = model(images)  # modality -> branch -> (B, D), visible rows once for each view
        # ClusterNCE of each modality and branch: -log softmax(f M^T / tau)[y]
        loss = sum(cluster_contrast(f[m][b], y[m], M[m][b](), TAU) for m in MODALITIES for b in model.branches)
        # CNL: -sum_j m_ij log softmax_j(f_i W^T / tau) / (1 + sum_j m_ij), m_ij where both branches call j a neighbour
        for (m, other), weight in weights.items():
            old = {b: W[other][b]() for b in model.branches}
            near = agreeing_neighbors({b: W[m][b]()[indexes[m]] for b in model.branches}, old, THRESHOLD)  # (B, N)
            terms = {b: neighbor_contrast(f[m][b], near, old[b], TAU) for b in model.branches}
            loss = loss + weight * sum(BRANCH_WEIGHT[b] * term for b, term in terms.items())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        for m in MODALITIES:  # M[y] <- unit(momentum M[y] + (1 - momentum) f), and the same for W[i]
            for b in model.branches:
                M[m][b].update(f[m][b].detach(), y[m].numpy(), MOMENTUM)
                W[m][b].update(f[m][b].detach(), indexes[m], INSTANCE_MOMENTUM, raw=False)
        losses.append(loss.item())
    counts = ", ".join(f"{found[m].occupied} {m} clusters and {found[m].outliers} outliers" for m in MODALITIES)
    labels = len(set(ids["visible"]) - {-1})
    print(f"epoch {epoch}: {counts}, visible trained on {labels} labels; loss {np.mean(losses):.3f}", flush=True)
print(f"after: {score(model)}")
