#!/bin/sh
# Test the model of train_pgm_regdb.sh, as test_cc_vit_regdb.sh does. Target: as in train_pgm_regdb.sh.
set -eu
exec sh "$(dirname "$0")/../test_cc_vit_regdb.sh" --method pgm "$@"
