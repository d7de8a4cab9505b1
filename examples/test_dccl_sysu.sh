#!/bin/sh
# Test the model of train_dccl_sysu.sh, as test_cc_vit_sysu.sh does.
# Target: none (train_dccl_sysu.sh says why).
# Cost:   embeds 10,578 images once; not measured on a GPU yet.
# Use:    sh examples/test_dccl_sysu.sh [any flag of `sdcl test`].
set -eu
exec sh "$(dirname "$0")/../test_cc_vit_sysu.sh" --method dccl "$@"
