#!/bin/sh
# Test the models of train_hil_regdb.sh, as test_cc_vit_regdb.sh does.
# Target: visible to thermal R1 92.8 / mAP 86.6, thermal to visible 92.2 / 85.4, mean of ten trials
#         (train_hil_regdb.sh names the sources).
# Cost:   embeds 4,120 images per trial; not measured on a GPU yet.
# Use:    sh examples/test_hil_regdb.sh [any flag of `sdcl test`].
set -eu
exec sh "$(dirname "$0")/../test_cc_vit_regdb.sh" --method hil "$@"
