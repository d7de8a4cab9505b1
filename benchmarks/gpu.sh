#!/bin/sh
# All measurements that need a GPU: step, clustering, memory, evaluation, input, an epoch at SYSU-MM01's size.
# No network, no faiss. Meant to take less than nine minutes; not yet run on a GPU. Each table stands alone.
set -u
PYTHON=${PYTHON:-python}
here=$(dirname "$0")
for name in step clustering memory evaluation input; do
    "$PYTHON" "$here/$name.py" --device cuda
done
"$PYTHON" "$here/epoch.py" --set sysu
"$PYTHON" "$here/epoch.py" --set sysu -- --precision bf16
