#!/bin/sh
# GUR, ResNet-50 (ImageNet), SYSU-MM01: one model.
# Target: none that is verified for this run, which uses camera labels. Others list GUR without camera labels
#         (here --no-intra-camera --no-cam comes closest), R1 / mAP / mINP:
#         all search 60.95 / 56.99 / 41.85, indoor search 64.22 / 69.49 / 64.81.
# Cost:   time unknown; the authors trained on four V100 GPUs. This code has not yet been run on the real data
#         set.
# Needs:  data/sysu (python prepare_sysu.py) and weights/resnet50-19c8e357.pth (docs/weights.md).
# Use:    sh examples/train_gur_sysu.sh [any flag of `sdcl train`]; GPUS=N sets the number of processes.
set -eu
exec sh "$(dirname "$0")/../train_cc_vit_sysu.sh" --method gur "$@"
