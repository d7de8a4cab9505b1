#!/bin/sh
# SDCL from raw images to CMC, mAP and mINP on synthetic people, on a CPU: make the data, prepare it, train both stages, test, and
# a report to look at. A few minutes on 2 cores, after installation. Needs no licence, no download and no GPU. The numbers are those of the synthetic
# benchmark, not of SYSU-MM01. Further flags go to the training, for example: sh examples/quickstart.sh --no-cra
set -eu
PYTHON=${PYTHON:-python}
OUT=${OUT:-logs/quickstart}
here=$(dirname "$0")
"$PYTHON" -m sdcl.synthetic.dataset --layout sysu --set quick --identities 100 --difficulty medium --seed 0 --out "$OUT/data" --jobs 2
"$PYTHON" "$here/../prepare_sysu.py" --data-dir "$OUT/data"
GPUS=1 sh "$here/../train_cc_vit_sysu.sh" --config "$here/quickstart.json" \
    --data-dir "$OUT/data" --cache-dir "$OUT/cache" --logs-dir "$OUT/run" "$@"
sh "$here/../test_cc_vit_sysu.sh" --data-dir "$OUT/data" --cache-dir "$OUT/cache" --logs-dir "$OUT/run" --shots 1,10
"$PYTHON" -m sdcl.cli.report "$OUT/run"
