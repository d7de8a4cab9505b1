#!/bin/sh
# Test the models of train_gur_regdb.sh, as test_cc_vit_regdb.sh does.
# Target: visible to thermal R1 73.91 / mAP 70.23 / mINP 58.88, thermal to visible 75.00 / 69.94 / 56.21
#         (train_gur_regdb.sh).
# Cost:   embeds 4,120 images per trial; not measured on a GPU yet.
# Use:    sh examples/test_gur_regdb.sh [any flag of `sdcl test`].
set -eu
exec sh "$(dirname "$0")/../test_cc_vit_regdb.sh" --method gur "$@"
