#!/bin/sh
# Test the model of train_hil_regdb.sh, as test_cc_vit_regdb.sh does. Target: as in train_hil_regdb.sh.
set -eu
exec sh "$(dirname "$0")/../test_cc_vit_regdb.sh" --method hil "$@"
