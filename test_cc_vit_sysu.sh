#!/bin/sh
# Test the model of train_cc_vit_sysu.sh after its last epoch: all and indoor search, single-shot, ten gallery
# draws.
# Target: all search R1 64.73 / mAP 63.10 / mINP 50.43 (train_cc_vit_sysu.sh names the sources and the paper's
#         table).
# Cost:   embeds 10,578 images once; not measured on a GPU yet.
# Use:    sh test_cc_vit_sysu.sh [any flag of `sdcl test`]. Multi-shot: --shots 1,10. Official gallery draws:
#         --official-draws (needs exp/rand_perm_cam.mat).
set -eu
exec "${PYTHON:-python}" -m sdcl.test --method sdcl -d sysu "$@"
