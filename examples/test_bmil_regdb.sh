#!/bin/sh
# Test the models of train_bmil_regdb.sh, as test_cc_vit_regdb.sh does.
# Target: visible to thermal R1 94.3 / mAP 89.1, thermal to visible 93.6 / 88.5, mean of ten trials
#         (train_bmil_regdb.sh names the sources).
# Cost:   embeds 4,120 images per trial; not measured on a GPU yet.
# Use:    sh examples/test_bmil_regdb.sh [any flag of `sdcl test`].
set -eu
exec sh "$(dirname "$0")/../test_cc_vit_regdb.sh" --method bmil "$@"
