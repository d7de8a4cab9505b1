#!/bin/sh
# GUR, ResNet-50 (ImageNet), SYSU-MM01.
# Target: all search R1 60.95 / mAP 56.99 / mINP 41.85, indoor search 64.22 / 69.49 / 64.81 as listed by others for a run without
#         camera labels; a figure of the paper itself could not be verified.
# Cost:   four V100 GPUs in the authors' setting. This code has not yet been run on the real data set.
# Needs:  data/sysu (python prepare_sysu.py) and weights/resnet50-19c8e357.pth (docs/weights.md).
# Use:    as train_cc_vit_sysu.sh: any flag of `sdcl train`; GPUS=N sets the number of processes.
set -eu
exec sh "$(dirname "$0")/../train_cc_vit_sysu.sh" --method gur "$@"
