"""Flags of runs that take seconds, and what is read from their folders."""

import json
from pathlib import Path

import torch

ROOT = Path(__file__).parents[2]
SHARED = (
    "-a vit_mini --pretrained none --height 32 --width 16 --pad 2 -b 8 --num-instances 4 --iters 3 "
    "--epochs 2 --k2 3 --eps 0.5 --lr 3e-5 --momentum 0.9 --calibrate-necks --embed-batch-size 64 "
    "--test-batch-size 64 --device cpu --precision fp32"
).split()
ONE_FEATURE = "--no-shallow --batch-size-visible 8 --bn-replicas 2 --k1 5 --min-samples 3".split()
OWN = {  # every part of each method within two epochs
    "sdcl": "--k1 8 --iters-unified 2 --unify-from 1 --k1-visible-unified 8 --cra-k 3".split(),
    "gur": [
        *ONE_FEATURE,
        *(
            "--propagate-from 1 --structure-from 1 --inter-modality-until 2 --propagation-k 3 --structure-k 3"
        ).split(),
    ],
    "adca": [*ONE_FEATURE, *"--aggregate-from 1 --cma-threshold 0.3".split()],
    "bmil": [*ONE_FEATURE, *"--joint-from 1".split()],
    "pgm": [*ONE_FEATURE, *"--match-from 1".split()],
    "dccl": [*ONE_FEATURE, *"--interact-from 0 --refine-from 1 --refine-k 3 --refine-clusters 2".split()],
    "hil": "--k1 8 --centres 2 --identity-from 1".split(),
    "taa": [*ONE_FEATURE, *"--associate-from 1".split()],
    "baseline": ONE_FEATURE,
}
CAMERAS = "--camera-iters 2 --camera-eps 0.4".split()  # of GUR, where the data set has cameras


def small(method="sdcl", dataset="sysu"):
    """Flags of a small run of a method."""
    assert method in OWN, (
        f"add flags of a small run of {method!r}, its stages within two epochs, to OWN in {__file__}"
    )
    cameras = CAMERAS if method == "gur" and dataset != "regdb" else []
    chosen = [] if method == "sdcl" else ["--method", method]
    first = [] if method == "hil" else ["--momentum-first", "0.9"]
    return [*SHARED, *first, *chosen, *OWN[method], *cameras]


SMALL = tuple(small())


def method_in(flags):
    """The method that flags choose."""
    return flags[flags.index("--method") + 1] if "--method" in flags else "sdcl"


def rows(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def state(folder):
    return torch.load(folder / "last.pt", weights_only=True)["model"]
