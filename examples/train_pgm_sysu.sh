#!/bin/sh
# PGM, ResNet-50 with non-local blocks (ImageNet), SYSU-MM01.
# Target: all search R1 56.09 / mAP 49.96 / mINP 32.70, the last epoch (49 of the second stage) of the authors'
#         released log. The paper's table, best by test: 57.3 / 51.8, indoor search 56.2 / 62.7.
# Cost:   four GPUs in the authors' setting, time unknown. This code has not yet been run on the real data
#         set.
# Needs:  data/sysu (python prepare_sysu.py) and weights/resnet50-19c8e357.pth (docs/weights.md).
# Use:    as train_cc_vit_sysu.sh: any flag of `sdcl train`; GPUS=N sets the number of processes.
set -eu
exec sh "$(dirname "$0")/../train_cc_vit_sysu.sh" --method pgm "$@"
