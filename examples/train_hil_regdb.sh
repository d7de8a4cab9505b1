#!/bin/sh
# HIL, ViT-B/16+ICS from SDCL's first stage, RegDB.
# Target: visible to thermal R1 92.8 / mAP 86.6, thermal to visible 92.2 / 85.4, mean of ten trials
#         (second hand; no log is released).
# Cost:   two A100 GPUs in the authors' setting, time unknown, after the SDCL runs.
#         This code has not yet been run on the real data set.
# Needs:  data/regdb (python prepare_regdb.py) and logs/sdcl_regdb/trial_N/stage_contrast.pt, which
#         train_cc_vit_regdb.sh leaves at the end of SDCL's first stage; --pretrained names another start.
# Use:    as train_cc_vit_regdb.sh: any flag of `sdcl train`; GPUS=N sets the number of processes.
#         TRIALS="1 2" or --trial N trains some of the trials.
set -eu
trial=$(printf ' %s ' "$*" | sed -n 's/.* --trial[ =]\([0-9]*\) .*/\1/p')
for trial in ${trial:-${TRIALS:-1 2 3 4 5 6 7 8 9 10}}; do
    sh "$(dirname "$0")/../train_cc_vit_regdb.sh" --method hil --trial "$trial" \
        --pretrained "logs/sdcl_regdb/trial_$trial/stage_contrast.pt" "$@"
done
