#!/bin/sh
# Search your own images with a trained model: which visible images show the people on the infrared ones?
# Target: none; results.json and results.png in OUT show the ranked images.
# Cost:   seconds on a CPU for some hundred images.
# Needs:  a run folder or checkpoint WEIGHTS, and QUERY and GALLERY, folders of person crops. REFERENCE, if
#         given, holds at least 99 infrared images of people who are not in GALLERY: they calibrate the
#         threshold of "not in the gallery" at a false-accept rate of 1 %.
# Use:    WEIGHTS=logs/sdcl_sysu QUERY=night GALLERY=day sh examples/search.sh [any flag of `sdcl search`,
#         such as --rerank]. Without variables it takes the run and images of examples/quickstart.sh.
set -eu
PYTHON=${PYTHON:-python}
WEIGHTS=${WEIGHTS:-logs/quickstart/run}
QUERY=${QUERY:-logs/quickstart/data/cam3}
GALLERY=${GALLERY:-logs/quickstart/data/cam1}
OUT=${OUT:-logs/search}
mkdir -p "$OUT"
embed() {
    "$PYTHON" -m sdcl embed --weights "$WEIGHTS" --images "$1" --modality "$2" --out "$3"
}
embed "$GALLERY" visible "$OUT/gallery.npz"
embed "$QUERY" infrared "$OUT/query.npz"
if [ -n "${REFERENCE:-}" ]; then
    embed "$REFERENCE" infrared "$OUT/reference.npz"
    set -- --calibrate 0.01 --reference "$OUT/reference.npz" "$@"
fi
"$PYTHON" -m sdcl search --query "$OUT/query.npz" --gallery "$OUT/gallery.npz" \
    --out "$OUT/results.json" --picture "$OUT/results.png" "$@"
