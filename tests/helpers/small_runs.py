"""Flags of runs that take seconds, and what is read from their folders."""

import json
from pathlib import Path

import torch

ROOT = Path(__file__).parents[2]
SMALL = (
    "-a vit_mini --pretrained none --height 32 --width 16 --pad 2 -b 8 --num-instances 4 --iters 3 --iters-unified 2 --epochs 2 "
    "--unify-from 1 --k1 8 --k1-visible-unified 8 --k2 3 --eps 0.5 --cra-k 3 --lr 3e-5 --momentum 0.9 --momentum-first 0.9 "
    "--calibrate-necks --test-batch-size 64 --device cpu --precision fp32"
).split()

# Every part of GUR and ADCA within the two epochs of SMALL, on top of it.
METHOD_FLAGS = (
    "--no-shallow --batch-size-visible 8 --bn-replicas 2 --camera-iters 2 --camera-eps 0.4 --k1 5 --min-samples 3 --propagate-from 1 "
    "--structure-from 1 --inter-modality-until 2 --propagation-k 3 --structure-k 3 --aggregate-from 1 --cma-threshold 0.3"
).split()


def rows(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def state(folder):
    return torch.load(folder / "last.pt", weights_only=True)["model"]
