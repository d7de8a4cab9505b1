#!/bin/sh
# Test the model of train_sdcl_llcm.sh, as test_cc_vit_sysu.sh does: ten seeded draws, three rows. "Drawn gallery" is the protocol, in both
# directions. "Drawn queries" is what the data set's released test program computes when asked for visible to infrared: the drawn
# infrared images query all visible ones. Target: as in train_sdcl_llcm.sh. Cost: embeds 15,846 images once.
set -eu
exec sh "$(dirname "$0")/../test_cc_vit_sysu.sh" -d llcm "$@"
