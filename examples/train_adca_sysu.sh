#!/bin/sh
# ADCA, ResNet-50 (ImageNet), SYSU-MM01.
# Target: all search R1 45.51 / mAP 42.73 / mINP 28.29, indoor search 50.60 / 59.11 / 55.17 (the paper's, as listed by others).
# Cost:   50 + 50 epochs on four GPUs in the authors' set-up. This code has not yet been run on the real data set.
# Needs:  data/sysu (python prepare_sysu.py) and weights/resnet50-19c8e357.pth (docs/weights.md).
# Use:    as train_cc_vit_sysu.sh: any flag of `sdcl train`; GPUS=N sets the number of processes.
set -eu
exec sh "$(dirname "$0")/../train_cc_vit_sysu.sh" --method adca "$@"
