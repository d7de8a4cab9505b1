#!/bin/sh
# Test the model of train_adca_sysu.sh, as test_cc_vit_sysu.sh does.
# Target: all search R1 45.51 / mAP 42.73 / mINP 28.29, indoor search 50.60 / 59.11 / 55.17
#         (train_adca_sysu.sh).
# Cost:   embeds 10,578 images once; not measured on a GPU yet.
# Use:    sh examples/test_adca_sysu.sh [any flag of `sdcl test`].
set -eu
exec sh "$(dirname "$0")/../test_cc_vit_sysu.sh" --method adca "$@"
