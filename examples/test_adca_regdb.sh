#!/bin/sh
# Test the models of train_adca_regdb.sh, as test_cc_vit_regdb.sh does.
# Target: visible to thermal R1 67.20 / mAP 64.05 / mINP 52.67, thermal to visible 68.48 / 63.81 / 49.62
#         (train_adca_regdb.sh).
# Cost:   embeds 4,120 images per trial; not measured on a GPU yet.
# Use:    sh examples/test_adca_regdb.sh [any flag of `sdcl test`].
set -eu
exec sh "$(dirname "$0")/../test_cc_vit_regdb.sh" --method adca "$@"
