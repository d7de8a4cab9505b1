"""sdcl: unsupervised visible-infrared person re-identification.

The map, in the order of an image's journey; a test holds it against the folders.

config.py       every setting, its flag, the recipes (method x data set)
train.py        the run as one page: images, model, method, optimiser, epochs
steps.py        the optimiser steps of a stage: batch, features, losses, gradient
batches.py      the batches of a stage: which images, seen how, on which process
doctor.py       data folder, starting weight and machine examined before a run
test.py         checkpoint -> CMC, mAP, mINP
report.py       run folder -> report.html; several runs -> side by side
pretrain.py     a starting weight: from unlabelled crops, or from synthetic people
compiled.py     loops over rows on the host, as machine code
checks.py       what the pure functions ask of their inputs
parts.py        heavy work split among the processes that wait for it
embed.py        one's own images -> embeddings in a file
search.py       queries -> ranked gallery, as JSON and as a picture; the threshold of "not in the gallery"
export.py       checkpoint -> ONNX, safetensors and a model card
data/           IMAGES: samples, SYSU-MM01, RegDB, LLCM, one's own, preparing, the synthetic benchmark, decoded store, augmentation, sampler
models/         IMAGES -> FEATURES: dual-branch ViT, two-stream ResNet, weight formats, extraction
pretraining/    STARTING WEIGHTS: crops and tracks, what is optimised on them, a probe
clustering/     FEATURES -> PSEUDO-LABELS within one modality: neighbours, k-reciprocal Jaccard distance, DBSCAN
association/    PSEUDO-LABELS ACROSS MODALITIES: CRA (SDCL), CMLU and CAE (GUR), CMA (ADCA)
memory/         cluster and instance memories
losses/         cluster contrast, collaborative neighbour learning (CNL)
methods/        WHICH labels, links, memories and losses, WHEN: one file per method
evaluation/     metrics, protocols, tables; the comparison of labels with identities, for the log only
visualization/  what a run left, to look at: curves, ranked grids, embeddings, attention, comparison, the pages
runtime/        processes, checkpoints, run log
assets/         the starting weight of the quick start, and the one it was made from
"""
