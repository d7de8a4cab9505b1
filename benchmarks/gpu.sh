#!/bin/sh
# What needs a GPU, in one go: clustering, evaluation, memories, step, input, and an epoch at SYSU-MM01's size. No network, no faiss.
# Aims at less than nine minutes; not yet run on a GPU. Each table stands alone, so a limit that cuts the run short loses the last ones only.
set -u
PYTHON=${PYTHON:-python}
here=$(dirname "$0")
"$PYTHON" "$here/step.py" --device cuda
"$PYTHON" "$here/clustering.py" --device cuda
"$PYTHON" "$here/memory.py" --device cuda
"$PYTHON" "$here/evaluation.py" --device cuda
"$PYTHON" "$here/input.py" --device cuda
"$PYTHON" "$here/epoch.py" --set sysu
