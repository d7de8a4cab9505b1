#!/bin/sh
# Test the model of train_own_data.sh on the images of the split "test", in both directions: every image of
# one modality against all of the other, without draws or removed images.
# Target: none: custom images have no published numbers.
# Cost:   embeds the test images once.
# Needs:  a table with splits (docs/datasets/custom.md); one of test images alone suffices.
# Use:    sh examples/test_own_data.sh --data-dir DIR_OR_CSV [any flag of `sdcl test`].
set -eu
exec sh "$(dirname "$0")/../test_cc_vit_sysu.sh" -d custom "$@"
