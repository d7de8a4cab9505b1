"""Unsupervised visible-infrared person re-identification (VI-ReID): SDCL and its
family, exact and reproducible.

The public names are loaded when they are used; `import sdcl` imports neither torch nor NumPy.

    trained = sdcl.TrainedModel.open("logs/sdcl_sysu")         # run folder, checkpoint or exported file
    rows = trained.embed(["a.jpg", "b.jpg"], "infrared")       # unit rows (N, D)
    labels = sdcl.pseudo_labels(features, eps=0.6)             # any feature matrix (N, D), NumPy or torch

The rooms of the package, in the order of an image's journey:

train.py        the training run on one page
test.py         checkpoint -> CMC, mAP, mINP
config/         settings, recipes (method x data set), command line
datasets/       WHICH IMAGES: SYSU-MM01, RegDB, LLCM, HITSZ-VCM, BUPTCampus, custom;
                protocols; preparation; inspection
data/           IMAGES -> TENSORS: decoded cache, augmentation, sampler
models/         layers, dual-branch ViT, two-stream ResNet, weight formats, pretrained weights
inference/      IMAGES -> FEATURES: extraction, trained models, embeddings, search, export
clustering/     FEATURES -> PSEUDO-LABELS of one modality or of both: k-reciprocal Jaccard distance, DBSCAN
association/    PSEUDO-LABELS ACROSS MODALITIES: CRA, CMLU and CAE, CMA, cluster
                matching, label transfer and refinement
memory/         cluster, instance and hybrid memories; centres, prototypes
losses/         cluster, neighbour (CNL), hybrid, multi-positive and inverse-distance contrast
methods/        WHICH labels, links, memories and losses, WHEN: one file per method
training/       session, steps, batches, epoch journal, run state
evaluation/     metrics, rankings, re-ranking, tables
analysis/       quality of labels and features, for the log only
reporting/      HTML reports: curves, ranked galleries, embeddings, attention, comparison of runs
app/            a page on this machine: search in a browser, walk through a run
pretraining/    PRETRAINED WEIGHTS from unlabelled crops or synthetic people
synthetic/      a renderer of synthetic people, cameras and data sets
runtime/        processes, checkpoints, files, errors, log, work sharing
cli/            the `sdcl` command: doctor, embed, search, app, export, report and the rest
assets/         pretrained weights of the quick start
"""

import lazy_loader

__version__ = "0.2.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
