#!/bin/sh
# Test the model of train_taa_sysu.sh, as test_cc_vit_sysu.sh does.
# Target: none (train_taa_sysu.sh). Every row is called "semi-supervised: visible identities".
# Cost:   embeds 10,578 images once; not measured on a GPU yet.
# Use:    sh examples/test_taa_sysu.sh [any flag of `sdcl test`].
set -eu
exec sh "$(dirname "$0")/../test_cc_vit_sysu.sh" --method taa "$@"
