#!/bin/sh
# Test the models of train_cc_vit_regdb.sh after their last epochs: both directions, each trial with its own
# model, and the mean.
# Target: visible to thermal R1 90.71 / mAP 83.12 / mINP 68.22, thermal to visible 89.87 / 81.99 / 65.35, mean
#         of ten trials (train_cc_vit_regdb.sh names the sources and the paper's table).
# Cost:   embeds 4,120 images per trial; not measured on a GPU yet.
# Use:    sh test_cc_vit_regdb.sh [any flag of `sdcl test`]. Some trials: --trials 1-3, or --trial 3.
set -eu
exec "${PYTHON:-python}" -m sdcl.test --method sdcl -d regdb "$@"
