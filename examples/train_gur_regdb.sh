#!/bin/sh
# GUR, ResNet-50 (ImageNet), RegDB.
# Target: visible to thermal R1 73.91 / mAP 70.23 / mINP 58.88, thermal to visible 75.00 / 69.94 / 56.21 (as listed by others), mean of ten trials.
# Cost:   four V100 GPUs in the authors' set-up. This code has not yet been run on the real data set.
# Needs:  data/regdb (python prepare_regdb.py) and weights/resnet50-19c8e357.pth (docs/weights.md).
# Use:    as train_cc_vit_regdb.sh: any flag of `sdcl train`; GPUS=N sets the number of processes.
set -eu
exec sh "$(dirname "$0")/../train_cc_vit_regdb.sh" --method gur "$@"
