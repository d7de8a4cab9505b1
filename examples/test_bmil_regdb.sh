#!/bin/sh
# Test the model of train_bmil_regdb.sh, as test_cc_vit_regdb.sh does. Target: as in train_bmil_regdb.sh.
set -eu
exec sh "$(dirname "$0")/../test_cc_vit_regdb.sh" --method bmil "$@"
