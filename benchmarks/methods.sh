#!/bin/sh
# The table of docs/methods/synthetic_table.md: every method, and SDCL without each part, on the medium synthetic set.
# Cost: 30 runs (3 seeds); about an hour on 2 CPU cores. Flags: python benchmarks/methods.py --help
set -eu
PYTHON=${PYTHON:-python}
WORK=${WORK:-logs/methods}
here=$(dirname "$0")
"$PYTHON" -m sdcl synthesize --layout sysu --set medium --difficulty medium --seed 0 --jobs 2 --out "$WORK/data"
"$PYTHON" "$here/../prepare_sysu.py" --data-dir "$WORK/data"
exec "$PYTHON" "$here/methods.py" --work "$WORK" "$@"
