"""Run folders as training leaves them, with a model of random weights."""

import json

import torch

from sdcl.config import flat, resolve
from sdcl.models.factory import build_model
from sdcl.runtime import checkpoint

SETTINGS = {
    "height": 32, "width": 16, "k1": 8, "k2": 3, "eps": 0.5,
    "test_batch_size": 64, "embed_batch_size": 64, "device": "cpu",
}  # fmt: skip
OF_SDCL = {"k1_visible_unified": 8, "cra_k": 3, "unify_from": 5}
OF_GUR = {
    "method": "gur",
    "shallow": False,
    "camera_eps": 0.4,
    "k1": 5,
    "min_samples": 3,
    "propagate_from": 1,
}
RESNET = {"method": "baseline", "shallow": False, "min_samples": 2}
FACTS = {"synthetic": False, "complete": True, "notices": []}


def write_run(folder, data_dir, cache_dir, dataset="sysu", facts=FACTS, **changed):
    """Write a run of two epochs and return its folder.

    Args:
        facts: of environment.json about the images. changed: settings.
    """
    own = OF_SDCL if changed.get("method", "sdcl") == "sdcl" else {}
    arch = "vit_mini" if changed.get("shallow", True) else "resnet_mini"
    where = {"dataset": dataset, "data_dir": str(data_dir), "cache_dir": str(cache_dir), "arch": arch}
    settings, _ = resolve(SETTINGS | own | where | changed)
    folder.mkdir(parents=True)
    torch.manual_seed(0)
    model = build_model(arch, height=32, width=16)
    state = {"model": model.state_dict(), "epoch": 1, "settings": flat(settings), "data": "d", "rows": []}
    checkpoint.save(folder, checkpoint.LAST, state)
    (folder / "config.json").write_text(json.dumps(flat(settings)))
    (folder / "environment.json").write_text(json.dumps({"data": "d", "<b>": "<i>"} | facts))
    rows = [row(epoch, settings.run.seed) for epoch in range(2)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    return folder


def row(epoch, seed):
    """A line of metrics.jsonl."""
    numbers = {
        "R1": 30.0 + 3 * epoch + seed,
        "R5": 50.0,
        "R10": 60.0,
        "R20": 80.0,
        "mAP": 20.0 + seed,
        "mINP": 10.0,
    }
    protocol = "SYSU-MM01 all-search single-shot, 10 seeded draws"
    labels = {
        m: {"clusters": 9, "outliers": 1, "true_identities": 8, "ari": 0.5} for m in ("visible", "infrared")
    }
    return {
        "epoch": epoch,
        "stage": "contrast",
        "lr": 1e-4,
        "loss": 1.0,
        "losses": {"cluster_visible_deep": 1.0},
        "labels": labels,
        "test": [{"protocol": protocol, "direction": "infrared to visible", **numbers}],
        "seconds": {"a": 1},
    }
