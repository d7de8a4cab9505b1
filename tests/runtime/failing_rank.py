"""Trains, but process 1 fails in one of its steps: python failing_rank.py KIND [flags of sdcl.train]; KIND is "error", "refusal" or "once" (an error that a restart does not meet again)."""

import os
import sys

from sdcl import train
from sdcl.methods.parts.cluster_contrast import ClusterContrast
from sdcl.runtime.errors import UserError

kind, flags = sys.argv[1], sys.argv[2:]
plain, step = ClusterContrast.forward, [0]
AT = 5 if kind == "once" else 2  # in the second epoch, or in the first


def forward(self, *batch):
    step[0] += 1
    again = kind == "once" and os.environ["TORCHELASTIC_RESTART_COUNT"] != "0"
    if os.environ["RANK"] == "1" and step[0] == AT and not again:
        raise UserError("this process refuses") if kind == "refusal" else RuntimeError("this process has broken")
    return plain(self, *batch)


ClusterContrast.forward = forward
sys.exit(train.main(flags))
