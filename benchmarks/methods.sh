#!/bin/sh
# The table of docs/methods/reference_table.md: every method, and SDCL without each part, on the reference set.
# Cost: 75 runs (41 rows; whole methods and SDCL's parts have three seeds, other forms one) of 10 to 40 minutes on one core; a GPU (--device) was not tried. It goes on where it was stopped, keeps
# the result of each run in reference_results.jsonl, and writes the table after it. Flags: python benchmarks/methods.py --help
# SET=medium: the medium set of synthetic-v1, docs/methods/synthetic_table.md.
set -eu
PYTHON=${PYTHON:-python}
SET=${SET:-reference}
WORK=${WORK:-logs/methods_$SET}
here=$(dirname "$0")
case $SET in reference) difficulty=clear ;; *) difficulty=medium ;; esac
"$PYTHON" -m sdcl synthesize --layout sysu --set "$SET" --difficulty "$difficulty" --seed 0 --jobs 2 --out "$WORK/data"
"$PYTHON" "$here/../prepare_sysu.py" --data-dir "$WORK/data"
exec "$PYTHON" "$here/methods.py" --benchmark "$SET" --work "$WORK" "$@"
