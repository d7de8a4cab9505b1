#!/bin/sh
# Test the model of train_bmil_sysu.sh, as test_cc_vit_sysu.sh does. Target: as in train_bmil_sysu.sh.
set -eu
exec sh "$(dirname "$0")/../test_cc_vit_sysu.sh" --method bmil "$@"
