"""Check a data folder, the pretrained weights and this machine before a run.

Every image file is read once. Exit codes: 0 fine; 1 warnings only; 2 a run would fail or give wrong numbers.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sdcl.clustering import neighbors_faiss
from sdcl.config import Settings, parser, resolve
from sdcl.datasets import Dataset, open_dataset
from sdcl.datasets.inspection import (
    ERROR,
    NOTE,
    WARNING,
    Finding,
    counted,
    differences,
    inspect_dataset,
    inspect_images,
    read_facts,
)
from sdcl.methods.build import build_method
from sdcl.models.pretrained import pretrained_model
from sdcl.runtime.distributed import Processes
from sdcl.runtime.errors import UserError, writing
from sdcl.runtime.program import program
from sdcl.training.initial_model import initial_model

EXIT_CODES = {NOTE: 0, WARNING: 1, ERROR: 2}
VERDICTS = (
    "fine",
    "usable, with the warnings above",
    "a run would fail or give wrong numbers; see the errors above",
)
PACKAGES = ("torch", "torchvision", "timm", "numpy", "sklearn", "faiss")
SHOWN = 5  # files that the printed report names for each finding
TIMED_IMAGES = 6  # images of the step whose time and memory are scaled to the run's


# ------------------------------------------------------------------ images and disk


def disk(settings: Settings, dataset: Dataset) -> list[Finding]:
    """Whether the decoded images, one copy per resize filter, fit into the cache folder's file system."""
    train, test = (sum(map(len, split.values())) for split in (dataset.train, dataset.test))
    copies = len({settings.data.resize_train, settings.data.resize_extract})
    need = (copies * train + test) * settings.data.height * settings.data.width * 3
    folder = Path(settings.data.cache_dir).absolute()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    text = (
        f"decoded images take {need / 1e9:.2f} GB (as much memory again if they stay cached), "
        f"{free / 1e9:.1f} GB are free"
    )
    remedy = "free space or choose another --cache-dir" if need > free else ""
    return [Finding(ERROR if need > free else NOTE, text, (str(folder),), remedy)]


def examine_data(settings: Settings, dataset: Dataset) -> list[Finding]:
    """All checks of the data folder: lists, every image file, and room for the decoded images."""
    remarks, allowed = [Finding(NOTE, line) for line in dataset.remarks], settings.data.allow_incomplete
    if not any(samples for split in (dataset.train, dataset.test) for samples in split.values()):
        remedy = "check --data-dir and the split files"
        nothing = Finding(ERROR, "no image is listed", (str(dataset.data_dir),), remedy)
        return [*differences(dataset, allowed), *remarks, nothing]
    facts = read_facts(dataset, settings.data.workers)
    of_dataset = inspect_dataset(dataset, facts, k1=settings.cluster.k1, allow_incomplete=allowed)
    return [*remarks, *inspect_images(facts), *of_dataset, *disk(settings, dataset)]


# ------------------------------------------------------------------ weights, machine, cost


def examine_weights(settings: Settings) -> list[Finding]:
    """Load the weights that the run would start from, as tensors only, into the recipe's model."""
    model, loaded = initial_model(settings)
    values = model.state_dict()
    broken = [n for n, v in values.items() if v.is_floating_point() and not torch.isfinite(v).all()]
    severity = WARNING if settings.model.pretrained == "none" else NOTE
    size = sum(v.numel() * v.element_size() for v in values.values())
    copies = 4 if settings.optim.optimizer == "adam" else 3
    memory = Finding(
        NOTE, f"weights, gradients and optimiser take {copies * size / 1e9:.2f} GB; activations come on top"
    )
    return [
        Finding(severity, loaded),
        memory,
        *counted(ERROR, "tensors are not finite", broken, "take another weight file"),
    ]


def examine_machine(settings: Settings) -> list[Finding]:
    """Versions of the packages that the results depend on, and the device that the run would use."""
    versions = []
    for name in PACKAGES:
        try:
            versions.append(f"{name} {importlib.import_module(name).__version__}")
        except ImportError:
            versions.append(f"{name} missing")
    findings = [Finding(NOTE, ", ".join(versions))]
    findings += examine_search(settings.cluster.knn)
    if torch.cuda.is_available():
        bf16 = "with" if torch.cuda.is_bf16_supported() else "without"
        return [
            *findings,
            Finding(NOTE, f"{torch.cuda.device_count()} GPU(s), {torch.cuda.get_device_name()}, {bf16} bf16"),
        ]
    if settings.run.device.startswith("cuda"):
        return [
            *findings,
            Finding(
                ERROR, f"--device {settings.run.device}, but no GPU is usable", (), "choose --device cpu"
            ),
        ]
    precision = "bf16" if Processes(0, 1, 0, torch.device("cpu")).bf16(settings.run.precision) else "float32"
    return [*findings, Finding(NOTE, f"no GPU: training runs on the CPU in {precision}")]


def examine_search(knn: str) -> list[Finding]:
    """Whether faiss is there if the run searches with it, and can use the GPU if there is one."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return [Finding(NOTE, note) for note in neighbors_faiss.notes(knn, device)]
    except UserError as error:
        return [Finding(ERROR, f"--knn {knn}, but faiss is not installed", (), str(error))]


def examine_cost(settings: Settings, dataset: Dataset) -> list[Finding]:
    """Estimate hours and memory of the run on one device of this machine, from a step of a few images."""
    device = torch.device("cuda" if torch.cuda.is_available() and settings.run.device != "cpu" else "cpu")
    seconds, activations = time_of_an_image(settings, device)
    visible = settings.batch.batch_size_visible or settings.batch.batch_size
    batch = settings.batch.batch_size + visible * (2 if settings.augment.second_view else 1)
    embedded, per_epoch = sum(map(len, dataset.train.values())), steps_per_epoch(settings, dataset)
    steps = settings.optim.epochs * per_epoch
    # embedding for the labels costs two views of each image, and a forward pass is a third of a step
    hours = (steps * batch + settings.optim.epochs * embedded * 2 / 3) * seconds / 3600
    return [
        Finding(
            NOTE,
            f"about {hours:.1f} hours of model arithmetic on one {device.type} device "
            f"({settings.optim.epochs} epochs of {per_epoch} steps of {batch} images at {seconds * 1e3:.1f} "
            f"ms an image, and embedding {embedded:,} images an epoch), and about "
            f"{activations * batch / 1e9:.1f} GB of activations in a step over all devices; a rough "
            f"estimate, measured on {TIMED_IMAGES} random images",
        )
    ]


def time_of_an_image(settings: Settings, device: torch.device) -> tuple[float, float]:
    """(seconds, bytes of activations) of one image in a training step, of `TIMED_IMAGES` random images."""
    settings = dataclasses.replace(settings, model=dataclasses.replace(settings.model, pretrained="none"))
    bf16 = Processes(0, 1, 0, device).bf16(settings.run.precision)
    model = pretrained_model(settings)[0].to(device).train()
    size = (TIMED_IMAGES // 2, 3, settings.data.height, settings.data.width)
    images = {"visible": torch.randn(*size, device=device), "infrared": torch.randn(*size, device=device)}
    saved: dict[int, int] = {}  # address -> bytes of what autograd keeps for the backward pass

    def record(tensor: Tensor) -> Tensor:
        saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    def step() -> float:
        began = time.perf_counter()
        with (
            torch.autograd.graph.saved_tensors_hooks(record, lambda tensor: tensor),
            torch.autocast(device.type, torch.bfloat16, enabled=bf16),
        ):
            features = model(images)
        sum(f.float().square().sum() for branches in features.values() for f in branches.values()).backward()
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - began

    step()  # the first one selects kernels and allocates memory
    seconds = step() / TIMED_IMAGES
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    activations = sum(count for address, count in saved.items() if address not in weights)
    return seconds, activations / TIMED_IMAGES / 2  # both steps were recorded


def steps_per_epoch(settings: Settings, dataset: Dataset) -> int:
    """Optimiser steps of an epoch, as the method estimates them."""
    cameras = {m: np.array([s.camera for s in samples]) for m, samples in dataset.train.items()}
    return build_method(settings, dataset, cameras).steps_per_epoch()


# ------------------------------------------------------------------ program


def guarded(what: str, check: Callable[[], list[Finding]]) -> list[Finding]:
    """The findings of a check; an error that it raises becomes a finding.

    `what`: its subject, for the message.
    """
    try:
        return check()
    except UserError as error:
        return [Finding(ERROR, str(error))]
    except Exception as error:  # one check that crashes must not hide what the others find
        return [
            Finding(
                ERROR,
                f"the check of the {what} failed: {type(error).__name__}: {error}",
                (),
                "check that the files can be read",
            )
        ]


def examine(settings: Settings, timing: bool = True) -> list[Finding]:
    """All checks; the data set is opened once. `timing`: also estimate hours and memory."""
    d = settings.data
    findings = []
    dataset: Dataset | None = None
    try:
        dataset = open_dataset(d.dataset, settings.data_dir, trial=d.trial, allow_incomplete=True)
    except UserError as error:
        findings.append(Finding(ERROR, str(error)))
    if dataset is not None:
        findings += guarded("images", lambda: examine_data(settings, dataset))
    findings += guarded("pretrained weights", lambda: examine_weights(settings))
    findings += guarded("machine", lambda: examine_machine(settings))
    if timing and dataset is not None:
        findings += guarded("cost", lambda: examine_cost(settings, dataset))
    return findings


def report(findings: list[Finding]) -> str:
    """The findings as text, notes first and errors last."""
    lines = []
    for f in sorted(findings, key=lambda f: EXIT_CODES[f.severity]):
        more = len(f.where) - SHOWN
        lines += [f"{f.severity}: {f.what}", *(f"    {item}" for item in f.where[:SHOWN])]
        lines += [f"    and {more} more"] if more > 0 else []
        lines += [f"    -> {f.remedy}"] if f.remedy else []
    return "\n".join(lines)


@program
def main(argv: Sequence[str] | None = None) -> int:
    """Command line entry; the exit code is the verdict."""
    flags = parser("sdcl doctor", __doc__)
    flags.add_argument("--weights", dest="pretrained", metavar="FILE", help="the same as --pretrained")
    flags.add_argument(
        "--json", metavar="FILE", help="also write the findings to this file, with every image named"
    )
    flags.add_argument(
        "--no-timing", dest="timing", action="store_false", help="leave out the estimate of hours and memory"
    )
    values = vars(flags.parse_args(argv))
    target, timing = values.pop("json", ""), values.pop("timing", True)
    settings, _ = resolve(values)
    findings = examine(settings, timing)
    code = max(EXIT_CODES[f.severity] for f in findings)
    print(report(findings))
    print(f"verdict: {VERDICTS[code]}")
    if target:
        with writing(f"--json {target}"):
            Path(target).write_text(
                json.dumps(
                    {"exit_code": code, "findings": [dataclasses.asdict(f) for f in findings]}, indent=2
                )
            )
    return code


if __name__ == "__main__":
    sys.exit(main(None))
