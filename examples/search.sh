#!/bin/sh
# Search your own images with a trained model: who on the infrared images is on the visible ones? Seconds on a CPU for some hundred images.
#   WEIGHTS=logs/sdcl_sysu QUERY=night GALLERY=day sh examples/search.sh
# QUERY and GALLERY are folders of cropped people. REFERENCE, if given, holds infrared images of people who are surely not in GALLERY (99 or
# more): from them comes the threshold of "not in the gallery" at a false-accept rate of 1 %. Further flags go to the search, such as --rerank.
# Without names it takes the run and the images that examples/quickstart.sh left.
set -eu
PYTHON=${PYTHON:-python}
WEIGHTS=${WEIGHTS:-logs/quickstart/run}
QUERY=${QUERY:-logs/quickstart/data/cam3}
GALLERY=${GALLERY:-logs/quickstart/data/cam1}
OUT=${OUT:-logs/search}
mkdir -p "$OUT"
"$PYTHON" -m sdcl.cli.embed --weights "$WEIGHTS" --images "$GALLERY" --modality visible --out "$OUT/gallery.npz"
"$PYTHON" -m sdcl.cli.embed --weights "$WEIGHTS" --images "$QUERY" --modality infrared --out "$OUT/query.npz"
if [ -n "${REFERENCE:-}" ]; then
    "$PYTHON" -m sdcl.cli.embed --weights "$WEIGHTS" --images "$REFERENCE" --modality infrared --out "$OUT/reference.npz"
    set -- --calibrate 0.01 --reference "$OUT/reference.npz" "$@"
fi
"$PYTHON" -m sdcl.cli.search --query "$OUT/query.npz" --gallery "$OUT/gallery.npz" --out "$OUT/results.json" --picture "$OUT/results.png" "$@"
