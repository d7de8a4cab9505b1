#!/bin/sh
# SDCL from raw images to CMC, mAP and mINP on synthetic images: render, prepare, train both stages, test,
# report.
# Target: docs/quickstart.md shows the output. These are numbers of synthetic images, not of SYSU-MM01.
# Cost:   a few minutes on two CPU cores; no GPU, download or licence.
# Use:    sh examples/quickstart.sh [any flag of `sdcl train`, such as --no-cra]; OUT=DIR sets the folder.
set -eu
PYTHON=${PYTHON:-python}
OUT=${OUT:-logs/quickstart}
here=$(dirname "$0")
"$PYTHON" -m sdcl synthesize --layout sysu --set quick --identities 100 --difficulty medium --seed 0 --jobs 2 --out "$OUT/data"
"$PYTHON" "$here/../prepare_sysu.py" --data-dir "$OUT/data"
GPUS=1 sh "$here/../train_cc_vit_sysu.sh" --config "$here/quickstart.json" \
    --data-dir "$OUT/data" --cache-dir "$OUT/cache" --logs-dir "$OUT/run" "$@"
sh "$here/../test_cc_vit_sysu.sh" --data-dir "$OUT/data" --cache-dir "$OUT/cache" --logs-dir "$OUT/run" --shots 1,10
"$PYTHON" -m sdcl report "$OUT/run"
