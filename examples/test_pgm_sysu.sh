#!/bin/sh
# Test the model of train_pgm_sysu.sh, as test_cc_vit_sysu.sh does. Target: as in train_pgm_sysu.sh.
set -eu
exec sh "$(dirname "$0")/../test_cc_vit_sysu.sh" --method pgm "$@"
