#!/bin/sh
# Test the models of train_taa_regdb.sh, as test_cc_vit_regdb.sh does.
# Target: none (train_taa_regdb.sh). Every row is called "semi-supervised: visible identities".
# Cost:   embeds 4,120 images per trial; not measured on a GPU yet.
# Use:    sh examples/test_taa_regdb.sh [any flag of `sdcl test`].
set -eu
exec sh "$(dirname "$0")/../test_cc_vit_regdb.sh" --method taa "$@"
