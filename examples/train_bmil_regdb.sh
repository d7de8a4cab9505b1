#!/bin/sh
# BMIL, ResNet-50 with non-local blocks (ImageNet), RegDB.
# Target: visible to thermal R1 94.3 / mAP 89.1, thermal to visible 93.6 / 88.5, mean of ten trials (no
#         released log supports it).
# Cost:   two GPUs in the authors' setting, time unknown. This code has not yet been run on the real data set.
# Needs:  data/regdb (python prepare_regdb.py) and weights/resnet50-19c8e357.pth (docs/weights.md).
# Use:    as train_cc_vit_regdb.sh: any flag of `sdcl train`; GPUS=N sets the number of processes.
set -eu
exec sh "$(dirname "$0")/../train_cc_vit_regdb.sh" --method bmil "$@"
