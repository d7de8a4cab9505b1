#!/bin/sh
# SDCL, ViT-B/16+ICS, SYSU-MM01.
# Target: all search R1 64.49 / mAP 63.24 / mINP 51.06, indoor search 71.37 / 76.90 / 73.50 (the paper's table);
#         the authors' released log ends at 64.73 / 63.10 / 50.43, all search, at epoch 49.
# Cost:   their run took 12 h 05 min on two A100 GPUs. This code has not yet been run on the real data set.
# Needs:  data/sysu (python prepare_sysu.py) and weights/vit_base_ics_cfs_lup.pth (docs/weights.md).
# Use:    sh train_cc_vit_sysu.sh [any flag of python -m sdcl.train]; GPUS=N chooses the number of processes.
set -eu
PYTHON=${PYTHON:-python}
GPUS=${GPUS:-$("$PYTHON" -c 'import torch; print(max(torch.cuda.device_count(), 1))')}
if [ "$GPUS" -gt 1 ]; then
    exec "$PYTHON" -m torch.distributed.run --standalone --nproc_per_node "$GPUS" -m sdcl.train --method sdcl -d sysu "$@"
fi
exec "$PYTHON" -m sdcl.train --method sdcl -d sysu "$@"
