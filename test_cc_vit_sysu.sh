#!/bin/sh
# Test the model of train_cc_vit_sysu.sh: all and indoor search, single-shot, ten gallery draws; CMC, mAP, mINP of the last epoch.
# Multi-shot: --shots 1,10. Official draws: --official-draws (needs exp/rand_perm_cam.mat). Other flags: python -m sdcl.test --help
# Target: as in train_cc_vit_sysu.sh. Cost: embeds 10,578 images once.
set -eu
exec "${PYTHON:-python}" -m sdcl.test --method sdcl -d sysu "$@"
