#!/bin/sh
# HIL, ViT-B/16+ICS from SDCL's first stage, RegDB.
# Target: visible to thermal R1 92.8 / mAP 86.6, thermal to visible 92.2 / 85.4, mean of ten trials
#         (second hand; no log is released).
# Cost:   two A100 GPUs in the authors' setting, time unknown, after the SDCL runs.
#         This code has not yet been run on the real data set.
# Needs:  data/regdb (python prepare_regdb.py) and logs/sdcl_regdb, the runs of train_cc_vit_regdb.sh: each trial
#         starts from the end of the first stage of the same trial; --from-run names other runs, --pretrained a
#         weight file instead.
# Use:    as train_cc_vit_regdb.sh: any flag of `sdcl train`; GPUS=N sets the number of processes;
#         TRIALS="1 2" or --trial N trains some of the trials.
set -eu
case " $* " in
*" --from-run"* | *" --pretrained"*) ;;
*) set -- --from-run logs/sdcl_regdb "$@" ;;
esac
exec sh "$(dirname "$0")/../train_cc_vit_regdb.sh" --method hil "$@"
