"""Run folders of untrained models: all that programs on trained models need, without a training run."""

import json

import torch

from sdcl.config import flat, parse
from sdcl.models.pretrained import model_of
from sdcl.runtime import checkpoint

FLAGS = (
    "-d sysu -a vit_mini --pretrained none --height 32 --width 16 --eps 0.5 --device cpu --precision fp32"
).split()
TESTED = {
    "epoch": 0,
    "test": [
        {
            "protocol": "SYSU-MM01 all-search single-shot, 2 seeded draws",
            "direction": "infrared to visible",
            **dict.fromkeys(("R1", "R5", "R10", "R20", "mAP", "mINP"), 12.345),
        }
    ],
}


def run_folder(folder, seed=0, *more, environment=None):
    """A run folder with a checkpoint and its environment.json; returns the folder."""
    settings, _, _ = parse([*FLAGS, *more], "x", "")
    torch.manual_seed(seed)
    state = {
        "model": model_of(settings).state_dict(),
        "settings": flat(settings),
        "epoch": 0,
        "data": "0123456789abcdef",
        "rows": [TESTED],
    }
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint.save(folder, checkpoint.LAST, state)
    facts = {"synthetic": True, "complete": True, "notices": ["rendered people"]}
    (folder / "environment.json").write_text(json.dumps(facts if environment is None else environment))
    return folder
