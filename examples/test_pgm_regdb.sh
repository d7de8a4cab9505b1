#!/bin/sh
# Test the models of train_pgm_regdb.sh, as test_cc_vit_regdb.sh does.
# Target: visible to thermal R1 69.5 / mAP 65.4, thermal to visible 69.9 / 65.2, mean of ten trials
#         (train_pgm_regdb.sh names the sources).
# Cost:   embeds 4,120 images per trial; not measured on a GPU yet.
# Use:    sh examples/test_pgm_regdb.sh [any flag of `sdcl test`].
set -eu
exec sh "$(dirname "$0")/../test_cc_vit_regdb.sh" --method pgm "$@"
