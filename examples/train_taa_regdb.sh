#!/bin/sh
# TAA, ResNet-50 (ImageNet), RegDB: one model for each of the ten trials.
# What:   the setting of TAA (visible labelled, infrared not); the three parts are our reading of its title
#         (docs/methods/taa.md). Semi-supervised: visible identities are read, as every result says.
# Target: none that this reading would have to reproduce. TAA's paper, second hand: visible to thermal R1 62.2 /
#         mAP 56.0, thermal to visible 63.8 / 56.5.
# Cost:   time unknown; 50 + 50 epochs. This code has not yet been run on the real data set.
# Needs:  data/regdb (python prepare_regdb.py) and weights/resnet50-19c8e357.pth (docs/weights.md).
# Use:    sh examples/train_taa_regdb.sh [any flag of `sdcl train`]; GPUS=N sets the number of processes.
set -eu
exec sh "$(dirname "$0")/../train_cc_vit_regdb.sh" --method taa "$@"
