#!/bin/sh
# TAA, ResNet-50 (ImageNet), SYSU-MM01: one model.
# What:   the setting of TAA (visible labelled, infrared not); the three parts are our reading of its title
#         (docs/methods/taa.md). Semi-supervised: visible identities are read, as every result says.
# Target: none that this reading would have to reproduce. TAA's paper, second hand: all search R1 48.8 / mAP
#         42.3, indoor search 50.1 / 56.0.
# Cost:   time unknown; 50 + 50 epochs. This code has not yet been run on the real data set.
# Needs:  data/sysu (python prepare_sysu.py) and weights/resnet50-19c8e357.pth (docs/weights.md).
# Use:    sh examples/train_taa_sysu.sh [any flag of `sdcl train`]; GPUS=N sets the number of processes.
set -eu
exec sh "$(dirname "$0")/../train_cc_vit_sysu.sh" --method taa "$@"
