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
"$PYTHON" -m sdcl synthesize --layout sysu --set reference --identities 300 --difficulty clear --seed 0 --jobs 2 --out "$OUT/data"
"$PYTHON" "$here/../prepare_sysu.py" --data-dir "$OUT/data"
GPUS=1 sh "$here/../train_cc_vit_sysu.sh" --config "$here/quickstart.json" \
    --data-dir "$OUT/data" --cache-dir "$OUT/cache" --logs-dir "$OUT/run" "$@"
sh "$here/../test_cc_vit_sysu.sh" --data-dir "$OUT/data" --cache-dir "$OUT/cache" --logs-dir "$OUT/run" --shots 1,10
"$PYTHON" -m sdcl report "$OUT/run"
echo "
To compare, all search, single-shot, R1 / mAP: before training 10.5 / 15.2; with the identities of both modalities, the same
network and steps 36.6 / 37.4 (measured with benchmarks/ceiling.py when this was written, not in this run).
The report: $OUT/run/report.html"
