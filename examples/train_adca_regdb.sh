#!/bin/sh
# ADCA, ResNet-50 (ImageNet), RegDB.
# Target: visible to thermal R1 67.20 / mAP 64.05 / mINP 52.67, thermal to visible 68.48 / 63.81 / 49.62 (as listed by others), mean of ten trials.
# Cost:   50 + 50 epochs on four GPUs in the authors' set-up. This code has not yet been run on the real data set.
# Needs:  data/regdb (python prepare_regdb.py) and weights/resnet50-19c8e357.pth (docs/weights.md).
# Use:    as train_cc_vit_regdb.sh: any flag of `sdcl train`; GPUS=N sets the number of processes.
set -eu
exec sh "$(dirname "$0")/../train_cc_vit_regdb.sh" --method adca "$@"
