#!/bin/sh
# Test the model of train_sdcl_llcm.sh: ten seeded draws, three rows. "Drawn gallery" is the protocol, in both
# directions. "Drawn queries" is what the data set's released test program computes when it is asked for
# visible to infrared: the drawn infrared images query all visible ones.
# Target: none that is certain, see train_sdcl_llcm.sh.
# Cost:   embeds 15,846 images once; not measured on a GPU yet.
# Use:    sh examples/test_sdcl_llcm.sh [any flag of `sdcl test`].
set -eu
exec sh "$(dirname "$0")/../test_cc_vit_sysu.sh" -d llcm "$@"
