#!/bin/sh
# Test the model of train_own_data.sh on the images of the split "test", in both directions: every image of one modality against
# all of the other, without draws or removed images. docs/datasets/custom.md describes the table with splits.
# Use:    sh examples/test_own_data.sh --data-dir DIR; a table of test images suffices, such as --data-dir other_place.csv
# Target: as in train_own_data.sh. Cost: embeds the test images once.
set -eu
exec sh "$(dirname "$0")/../test_cc_vit_sysu.sh" -d custom "$@"
