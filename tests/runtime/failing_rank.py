"""Train, but fail in an optimiser step: python failing_rank.py KIND [flags of sdcl.train].

KIND: "error" or "refusal" of rank 1 in its second step; "once", an error of rank 1 that a restart does not
meet again; "optimizer", a ValueError of a library on every rank; "signal", SIGTERM to rank 1 in its third
batch of an embedding; "nothing".
"""

import os
import signal
import sys

import torch

from sdcl import train
from sdcl.inference import extract
from sdcl.methods.parts.cluster_contrast import ClusterContrast
from sdcl.runtime.errors import UserError

kind, flags = sys.argv[1], sys.argv[2:]
plain, step = ClusterContrast.forward, [0]
AT = 5 if kind == "once" else 2  # in the second epoch, or in the first


def forward(self, *batch):
    step[0] += 1
    again = kind == "once" and os.environ["TORCHELASTIC_RESTART_COUNT"] != "0"
    if os.environ["RANK"] == "1" and step[0] == AT and not again:
        raise (
            UserError("this process refuses")
            if kind == "refusal"
            else RuntimeError("this process has broken")
        )
    return plain(self, *batch)


class Broken(torch.optim.SGD):
    def step(self, closure=None):
        raise ValueError("operands could not be broadcast together")


def flip_averaged(*arguments, **options):
    step[0] += 1
    if os.environ["RANK"] == "1" and step[0] == 3:
        os.kill(os.getpid(), signal.SIGTERM)
    return embed(*arguments, **options)


if kind == "optimizer":
    torch.optim.SGD = Broken
elif kind == "signal":
    embed, extract.flip_averaged = extract.flip_averaged, flip_averaged
elif kind != "nothing":
    ClusterContrast.forward = forward
sys.exit(train.main(flags))
