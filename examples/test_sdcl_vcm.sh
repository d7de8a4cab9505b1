#!/bin/sh
# Test the model of train_sdcl_vcm.sh: tracks (the data set's protocol) and single frames, in both directions.
# Target: none, see train_sdcl_vcm.sh.
# Cost:   embeds about 32,000 images once; not measured on a GPU yet.
# Use:    sh examples/test_sdcl_vcm.sh [any flag of `sdcl test`].
set -eu
exec sh "$(dirname "$0")/../test_cc_vit_sysu.sh" -d vcm "$@"
