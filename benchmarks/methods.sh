#!/bin/sh
# The table of docs/methods/synthetic_table.md: every method, and SDCL with each part off, on the medium synthetic set, 3 seeds.
# Cost: 30 runs; about an hour on 2 CPU cores. Flags: python benchmarks/methods.py --help
set -eu
PYTHON=${PYTHON:-python}
WORK=${WORK:-logs/methods}
here=$(dirname "$0")
"$PYTHON" -m sdcl.synthetic.dataset --layout sysu --set medium --difficulty medium --seed 0 --out "$WORK/data" --jobs 2
"$PYTHON" "$here/../prepare_sysu.py" --data-dir "$WORK/data"
exec "$PYTHON" "$here/methods.py" --work "$WORK" "$@"
