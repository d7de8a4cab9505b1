"""SDCL: Shallow-Deep Collaborative Learning for Unsupervised Visible-Infrared Person Re-Identification.

    python examples/sdcl_synthetic.py        # on synthetic images

Bin Yang, Jun Chen, Mang Ye. CVPR 2024.
https://openaccess.thecvf.com/content/CVPR2024/papers/Yang_Shallow-Deep_Collaborative_Learning_for_Unsupervised_Visible-Infrared_Person_Re-Identification_CVPR_2024_paper.pdf
Its contributions are marked in the code: the shallow and the deep branch; CNL, collaborative neighbour
learning; CRA, collaborative ranking association (from epoch S). The arithmetic is that of the paper: memories
are updated after the step that read them, and both directions of CNL have one weight. `sdcl.train` offers the
released arithmetic as well.
"""

import numpy as np
import torch
from synthetic_setup import arguments, batches, describe, extract, open_images, pretrained_model

from sdcl.association import collaborative_ranking, majority_of_neighbors
from sdcl.clustering import pseudo_labels
from sdcl.data.augment import augmentation
from sdcl.datasets import MODALITIES
from sdcl.losses import agreeing_neighbors, cluster_contrast, neighbor_contrast
from sdcl.memory import ClusterMemory, InstanceMemory, centroids

CLUSTERING = {
    "k1": 20,
    "k2": 6,
    "eps": 0.5,
    "min_samples": 4,
}  # released: k1 30, eps 0.6, for thousands of images
TAU, MOMENTUM = 0.05, 0.9  # released: momentum 0.1, with 16 images of a cluster in a batch
LR = 1e-4  # Adam; released: SGD, 3.5e-4
THRESHOLD, INSTANCE_MOMENTUM = 0.9, 0.9  # of CNL, as released
BRANCH_WEIGHT = {"deep": 1.0, "shallow": 0.5}  # of CNL's terms, as released
CRA_K, SMOOTHING_K = 8, 5  # released: 20, 5; an identity has about ten infrared images here
CROSS = [("visible", "infrared"), ("infrared", "visible")]  # CNL across modalities: in even, in odd epochs
CROSS_FROM = 1  # first epoch of it; released: 10

args = arguments(__doc__)
S = args.epochs // 2  # first epoch of CRA; released: 30 of 50
images = open_images(args)
model = pretrained_model(images, ("deep", "shallow"), args.seed)
optimizer = torch.optim.Adam(model.parameters(), lr=LR, weight_decay=5e-4)
names = {"visible": ("plain", "exchanged"), "infrared": ("plain",)}
views = {m: [augmentation(m, view, pad=4) for view in names[m]] for m in MODALITIES}

print(f"before: {images.score(model)}")
for epoch in range(args.epochs):
    features = extract(model, images)  # modality -> branch -> (N, D)
    # One label for both branches: features side by side, then normalised as a whole.
    clusters = {m: pseudo_labels(torch.cat([*features[m].values()], dim=1), **CLUSTERING) for m in MODALITIES}
    labels = {m: clusters[m].ids for m in MODALITIES}
    M = {
        m: {b: ClusterMemory(centroids(features[m][b], labels[m])) for b in model.branches}
        for m in MODALITIES
    }
    # CRA: visible images take the infrared label on which both rankings agree most; neighbours vote.
    if epoch >= S:
        associated = collaborative_ranking(
            features["visible"], features["infrared"], labels["infrared"], CRA_K
        )
        associated = majority_of_neighbors(associated, features["visible"], SMOOTHING_K)
        labels["visible"] = np.where(labels["visible"] == -1, -1, associated)
        both = np.concatenate([labels[m] for m in MODALITIES])
        joint = {b: torch.cat([features[m][b] for m in MODALITIES]) for b in model.branches}
        shared = {b: ClusterMemory(centroids(joint[b], both)) for b in model.branches}
        M = {m: shared for m in MODALITIES}
    # CNL: an entry for every image; weights of (modality of the anchor, modality of its neighbours).
    W = {m: {b: InstanceMemory(features[m][b]) for b in model.branches} for m in MODALITIES}  # (N, D)
    weights = {(m, m): 1.0 if epoch < S else 0.1 for m in MODALITIES}
    if epoch >= CROSS_FROM:
        weights[CROSS[epoch % 2]] = 0.5 if epoch < S else 0.1

    model.train()
    losses = []
    for x, y, indexes in batches(images, labels, views, args.iters, (args.seed, epoch)):
        f = model(x)  # modality -> branch -> (B, D), visible images once per view
        # ClusterNCE of each modality and branch: -log softmax(f M^T / tau)[y]
        loss = sum(
            cluster_contrast(f[m][b], y[m], M[m][b](), TAU) for m in MODALITIES for b in model.branches
        )
        # CNL: -sum_j m_ij log softmax_j(f_i W^T / tau) / (1 + sum_j m_ij); m_ij: neighbours in both branches
        for (m, other), weight in weights.items():
            bank = {b: W[other][b]() for b in model.branches}
            anchors = {b: W[m][b]()[indexes[m]] for b in model.branches}
            neighbors = agreeing_neighbors(anchors, bank, THRESHOLD)  # (B, N)
            terms = {b: neighbor_contrast(f[m][b], neighbors, bank[b], TAU) for b in model.branches}
            loss = loss + weight * sum(BRANCH_WEIGHT[b] * term for b, term in terms.items())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        for m in MODALITIES:  # M[y] <- unit(momentum M[y] + (1 - momentum) f), and so W[i]
            for b in model.branches:
                M[m][b].update(f[m][b].detach(), y[m].numpy(), MOMENTUM)
                W[m][b].update(f[m][b].detach(), indexes[m], INSTANCE_MOMENTUM, raw=False)
        losses.append(loss.item())
    trained = len(set(labels["visible"]) - {-1})
    print(
        f"epoch {epoch}: {describe(clusters)}, {trained} visible labels trained; loss {np.mean(losses):.3f}",
        flush=True,
    )
print(f"after: {images.score(model)}")
