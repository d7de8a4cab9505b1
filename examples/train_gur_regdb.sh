#!/bin/sh
# GUR, ResNet-50 (ImageNet), RegDB: one model for each of the ten trials.
# Target (R1 / mAP / mINP, mean of ten trials): visible to thermal 73.91 / 70.23 / 58.88, thermal to visible
#         75.00 / 69.94 / 56.21 (as listed by others).
# Cost:   time unknown; the authors trained on four V100 GPUs. This code has not yet been run on the real data
#         set.
# Needs:  data/regdb (python prepare_regdb.py) and weights/resnet50-19c8e357.pth (docs/weights.md).
# Use:    sh examples/train_gur_regdb.sh [any flag of `sdcl train`]; GPUS=N sets the number of processes.
set -eu
exec sh "$(dirname "$0")/../train_cc_vit_regdb.sh" --method gur "$@"
