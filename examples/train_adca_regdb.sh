#!/bin/sh
# ADCA, ResNet-50 (ImageNet), RegDB: one model for each of the ten trials.
# Target (R1 / mAP / mINP, mean of ten trials): visible to thermal 67.20 / 64.05 / 52.67, thermal to visible
#         68.48 / 63.81 / 49.62 (as listed by others).
# Cost:   time unknown; the authors trained 50 + 50 epochs on four GPUs. This code has not yet been run on the
#         real data set.
# Needs:  data/regdb (python prepare_regdb.py) and weights/resnet50-19c8e357.pth (docs/weights.md).
# Use:    sh examples/train_adca_regdb.sh [any flag of `sdcl train`]; GPUS=N sets the number of processes.
set -eu
exec sh "$(dirname "$0")/../train_cc_vit_regdb.sh" --method adca "$@"
