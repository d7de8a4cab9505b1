#!/bin/sh
# BMIL, ResNet-50 with non-local blocks (ImageNet), SYSU-MM01.
# Target: all search R1 67.1 / mAP 63.1, indoor search 75.0 / 78.6; the authors' released log has 67.54 /
#         63.58 / mINP 48.48 and 75.19 / 78.62 / 74.42 at epoch 48 of the second stage, the last one it tests.
# Cost:   two GPUs in the authors' setting; by their log 6 h 58 min for the first stage, the second is not
#         timed. This code has not yet been run on the real data set.
# Needs:  data/sysu (python prepare_sysu.py) and weights/resnet50-19c8e357.pth (docs/weights.md).
# Use:    as train_cc_vit_sysu.sh: any flag of `sdcl train`; GPUS=N sets the number of processes.
set -eu
exec sh "$(dirname "$0")/../train_cc_vit_sysu.sh" --method bmil "$@"
