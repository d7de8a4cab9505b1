#!/bin/sh
# Test the model of train_gur_sysu.sh, as test_cc_vit_sysu.sh does.
# Target: none that is verified for a run with camera labels; without them all search R1 60.95 / mAP 56.99 /
#         mINP 41.85 (train_gur_sysu.sh).
# Cost:   embeds 10,578 images once; not measured on a GPU yet.
# Use:    sh examples/test_gur_sysu.sh [any flag of `sdcl test`].
set -eu
exec sh "$(dirname "$0")/../test_cc_vit_sysu.sh" --method gur "$@"
