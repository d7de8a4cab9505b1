#!/bin/sh
# HIL, ViT-B/16+ICS from SDCL's first stage, SYSU-MM01.
# Target: all search R1 66.3 / mAP 65.0, indoor search 71.8 / 77.5 (second hand; no log is released).
# Cost:   two A100 GPUs in the authors' setting, time unknown, after the SDCL run. This code has not yet been
#         run on the real data set.
# Needs:  data/sysu (python prepare_sysu.py) and logs/sdcl_sysu, the run of train_cc_vit_sysu.sh, of which it
#         takes the end of the first stage; --from-run names another run, --pretrained a weight file instead.
# Use:    as train_cc_vit_sysu.sh: any flag of `sdcl train`; GPUS=N sets the number of processes.
set -eu
case " $* " in
*" --from-run"* | *" --pretrained"*) ;;
*) set -- --from-run logs/sdcl_sysu "$@" ;;
esac
exec sh "$(dirname "$0")/../train_cc_vit_sysu.sh" --method hil "$@"
