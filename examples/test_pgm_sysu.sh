#!/bin/sh
# Test the model of train_pgm_sysu.sh, as test_cc_vit_sysu.sh does.
# Target: all search R1 56.09 / mAP 49.96 / mINP 32.70, the last epoch of the authors' released log; the paper's
#         table, best by test: 57.3 / 51.8, indoor search 56.2 / 62.7.
# Cost:   embeds 10,578 images once; not measured on a GPU yet.
# Use:    sh examples/test_pgm_sysu.sh [any flag of `sdcl test`].
set -eu
exec sh "$(dirname "$0")/../test_cc_vit_sysu.sh" --method pgm "$@"
