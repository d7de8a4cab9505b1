#!/bin/sh
# All measurements that need a GPU: step, clustering, memory, evaluation, input, an epoch at SYSU-MM01's size.
# No network, no faiss. Meant to take less than nine minutes; not yet run on a GPU. Each table stands alone: after a
# failure the next one begins, and the exit code is 1.
#   DEVICE=cpu QUICK=1 sh benchmarks/gpu.sh   this script at tiny sizes on a CPU: a test of it, not of speed
set -u
PYTHON=${PYTHON:-python}
DEVICE=${DEVICE:-cuda}
WORK=${WORK:-logs/epoch}
QUICK=${QUICK:+--quick}
here=$(dirname "$0")
failed=0
measure() {
    script=$1
    shift
    "$PYTHON" "$here/$script.py" $QUICK "$@" || { echo "$script.py failed" >&2; failed=1; }
}
for name in step clustering memory evaluation input; do
    measure "$name" --device "$DEVICE"
done
measure epoch --set sysu --device "$DEVICE" --work "$WORK"
measure epoch --set sysu --device "$DEVICE" --work "$WORK" -- --precision bf16
exit $failed
