#!/bin/sh
# Test the model of train_own_data.sh on the images whose split is "test" in the table, in both directions: every image of one modality
# against all of the other, nothing drawn, nothing removed. Without such images it is refused; docs/datasets/custom.md says what to write.
# Use:    sh examples/test_own_data.sh --data-dir DIR; a table of test images alone will do, such as --data-dir other_place.csv
# Target: as in train_own_data.sh. Cost: embeds the test images once.
set -eu
exec sh "$(dirname "$0")/../test_cc_vit_sysu.sh" -d own "$@"
