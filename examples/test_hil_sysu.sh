#!/bin/sh
# Test the model of train_hil_sysu.sh, as test_cc_vit_sysu.sh does. Target: as in train_hil_sysu.sh.
set -eu
exec sh "$(dirname "$0")/../test_cc_vit_sysu.sh" --method hil "$@"
