#!/bin/sh
# SDCL, ViT-B/16+ICS, BUPTCampus: one frame in 25 of each track is an image. The SDCL paper has no figures for
# this data set and no settings; the recipe is that of SYSU-MM01, untuned.
# Target: none; no method of this project has published figures for it.
# Cost:   unknown; about as many images as SYSU-MM01. This code has not yet been run on the real data set.
# Needs:  data/buptcampus (sdcl prepare buptcampus) and weights/vit_base_ics_cfs_lup.pth (docs/weights.md).
# Use:    sh examples/train_sdcl_buptcampus.sh [any flag of `sdcl train`; --method for another (taa
#         needs identities, hil --from-run)]; GPUS=N sets the number of processes.
set -eu
exec sh "$(dirname "$0")/../train_cc_vit_sysu.sh" -d buptcampus "$@"
