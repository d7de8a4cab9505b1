#!/bin/sh
# DCCL, ResNet-50 (ImageNet), RegDB.
# Target: none. DCCL, our reading of its abstract and of unused code in the released SDCL program; no published
#         number to compare with.
# Cost:   not known. This code has not yet been run on the real data set.
# Needs:  data/regdb (python prepare_regdb.py) and weights/resnet50-19c8e357.pth (docs/weights.md).
# Use:    as train_cc_vit_regdb.sh: any flag of `sdcl train`; GPUS=N sets the number of processes.
set -eu
exec sh "$(dirname "$0")/../train_cc_vit_regdb.sh" --method dccl "$@"
