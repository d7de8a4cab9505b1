#!/bin/sh
# Test the model of train_bmil_sysu.sh, as test_cc_vit_sysu.sh does.
# Target: all search R1 67.1 / mAP 63.1, indoor search 75.0 / 78.6 (train_bmil_sysu.sh names the sources).
# Cost:   embeds 10,578 images once; not measured on a GPU yet.
# Use:    sh examples/test_bmil_sysu.sh [any flag of `sdcl test`].
set -eu
exec sh "$(dirname "$0")/../test_cc_vit_sysu.sh" --method bmil "$@"
