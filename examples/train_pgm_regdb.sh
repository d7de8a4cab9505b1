#!/bin/sh
# PGM, ResNet-50 with non-local blocks (ImageNet), RegDB.
# Target: visible to thermal R1 69.5 / mAP 65.4, thermal to visible 69.9 / 65.2, mean of ten trials
#         (best by test). The authors' log of trial 5 ends at 69.0 / 64.0 / mINP 51.3, visible to thermal.
# Cost:   four GPUs in the authors' setting; by their log 1 h 24 min for each of the two stages of a trial.
#         This code has not yet been run on the real data set.
# Needs:  data/regdb (python prepare_regdb.py) and weights/resnet50-19c8e357.pth (docs/weights.md).
# Use:    as train_cc_vit_regdb.sh: any flag of `sdcl train`; GPUS=N sets the number of processes.
set -eu
exec sh "$(dirname "$0")/../train_cc_vit_regdb.sh" --method pgm "$@"
