#!/bin/sh
# Test the models of train_cc_vit_regdb.sh: both directions, each trial with its own model, and their mean.
# Some trials only: --trials 1-3, or --trial 3. Other flags: python -m sdcl.test --help
# Target: as in train_cc_vit_regdb.sh. Cost: embeds 4,120 images per trial.
set -eu
exec "${PYTHON:-python}" -m sdcl.test --method sdcl -d regdb "$@"
