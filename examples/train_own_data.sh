#!/bin/sh
# SDCL, ViT-B/16+ICS, custom images: two folders or a table (docs/datasets/custom.md), with or without
# identities.
# Target: none: custom images have no published numbers. The recipe is that of SYSU-MM01 (34,167 training
#         images), untuned.
# Cost:   `sdcl doctor -d custom --data-dir DIR` estimates it on this machine.
# Needs:  DIR/visible and DIR/infrared, or DIR/images.csv, and weights/vit_base_ics_cfs_lup.pth
#         (docs/weights.md).
# Use:    sh examples/train_own_data.sh --data-dir DIR [any flag of `sdcl train`; --method for another (taa
#         needs identities, hil --from-run)]; GPUS=N sets the number of processes.
#         Some hundred images, seconds to minutes on a CPU with the pretrained weights of the package:
#         sh examples/train_own_data.sh --data-dir DIR --config examples/quickstart.json --k1 10 \
#             --k1-visible-unified 10
set -eu
exec sh "$(dirname "$0")/../train_cc_vit_sysu.sh" -d custom "$@"
