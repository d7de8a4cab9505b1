#!/bin/sh
# Test the model of train_hil_sysu.sh, as test_cc_vit_sysu.sh does.
# Target: all search R1 66.3 / mAP 65.0, indoor search 71.8 / 77.5 (train_hil_sysu.sh names the sources).
# Cost:   embeds 10,578 images once; not measured on a GPU yet.
# Use:    sh examples/test_hil_sysu.sh [any flag of `sdcl test`].
set -eu
exec sh "$(dirname "$0")/../test_cc_vit_sysu.sh" --method hil "$@"
