#!/bin/sh
# SDCL, ViT-B/16+ICS, LLCM. The SDCL paper has no LLCM figures and no settings; the recipe is that of
# SYSU-MM01, untuned.
# Target: none that is certain. Re-runs by others disagree: one lists R1 46.90 / mAP 52.40 visible to infrared
#         and 43.40 / 48.20 infrared to visible; another 38.86 / 45.19 / 46.34 / 43.35, its column order
#         unclear. Neither names its convention (test_sdcl_llcm.sh).
# Cost:   unknown; 0.9 times the images of SYSU-MM01. This code has not yet been run on the real data set.
# Needs:  data/llcm (sdcl prepare llcm) and weights/vit_base_ics_cfs_lup.pth (docs/weights.md).
# Use:    sh examples/train_sdcl_llcm.sh [any flag of `sdcl train`; --method for another (taa
#         needs identities, hil --from-run)]; GPUS=N sets the number of processes.
set -eu
exec sh "$(dirname "$0")/../train_cc_vit_sysu.sh" -d llcm "$@"
