#!/bin/sh
# ADCA, ResNet-50 (ImageNet), SYSU-MM01: one model.
# Target (R1 / mAP / mINP): all search 45.51 / 42.73 / 28.29, indoor search 50.60 / 59.11 / 55.17 (the
#         paper's, as listed by others).
# Cost:   time unknown; the authors trained 50 + 50 epochs on four GPUs. This code has not yet been run on the
#         real data set.
# Needs:  data/sysu (python prepare_sysu.py) and weights/resnet50-19c8e357.pth (docs/weights.md).
# Use:    sh examples/train_adca_sysu.sh [any flag of `sdcl train`]; GPUS=N sets the number of processes.
set -eu
exec sh "$(dirname "$0")/../train_cc_vit_sysu.sh" --method adca "$@"
