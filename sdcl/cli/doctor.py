"""Check a data folder, the pretrained weights and this machine before a run.

Every image file is read once. Exit codes: 0 fine; 1 warnings only; 2 a run would fail or give wrong numbers.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import io
import json
import os
import shutil
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from sdcl.config import METHODS, Settings, parser, resolve
from sdcl.data.image_cache import FORMATS, MAX_PIXELS
from sdcl.datasets import UNKNOWN, Dataset, Sample, open_dataset
from sdcl.datasets.images import SUFFIXES_OF
from sdcl.datasets.sample import identities_of
from sdcl.models.pretrained import pretrained_model
from sdcl.runtime.distributed import Processes
from sdcl.runtime.errors import UserError, writing
from sdcl.runtime.files import printable
from sdcl.runtime.program import program

NOTE, WARNING, ERROR = "note", "warning", "error"
EXIT_CODES = {NOTE: 0, WARNING: 1, ERROR: 2}
VERDICTS = (
    "fine",
    "usable, with the warnings above",
    "a run would fail or give wrong numbers; see the errors above",
)
PACKAGES = ("torch", "torchvision", "timm", "numpy", "sklearn", "faiss")
# Mean difference between an image's largest and smallest colour channel, of 255: no infrared camera has more
# than COLOURFUL, no visible one less than GREY.
COLOURFUL, GREY = 8.0, 1.0
MIN_WIDTH, MIN_HEIGHT = 8, 16  # pixels
MAX_SIDE = 4096  # pixels
ASPECT = (0.8, 6.0)  # height / width of a standing person
SHOWN = 5  # files that the printed report names for each finding
TIMED_IMAGES = 6  # images of the step whose time and memory are scaled to the run's


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Args:
        severity: note, warning or error. what: the finding, one sentence. where: files or folders. remedy:
            what to do.
    """

    severity: str
    what: str
    where: tuple[str, ...] = ()
    remedy: str = ""


@dataclass(frozen=True)
class ImageFacts:
    """What reading one image file gave.

    Args:
        digest: SHA-256 of the content. colour: mean difference between the largest and the smallest channel,
            of 255.
        problem: why a run would refuse the file; "" if it would not.
    """

    sample: Sample
    split: str
    digest: str = ""
    format: str = ""
    width: int = 0
    height: int = 0
    colour: float = 0.0
    problem: str = ""


def inspect(sample: Sample, split: str) -> ImageFacts:
    """Read one image file. Never raises."""
    facts = ImageFacts(sample, split)
    try:
        if not os.path.isfile(sample.path):
            raise UserError("not a file")
        content = Path(sample.path).read_bytes()
        if not content:
            raise UserError("empty file")
        facts = dataclasses.replace(facts, digest=hashlib.sha256(content).hexdigest())
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            facts = dataclasses.replace(
                facts, format=image.format or "", width=image.width, height=image.height
            )
            if image.width * image.height > MAX_PIXELS:
                raise UserError(f"{image.width} x {image.height} pixels: a decompression bomb")
            cells = image.convert("RGB").resize((4, 8), Image.Resampling.BOX).tobytes()
        pixels = [cells[i : i + 3] for i in range(0, len(cells), 3)]
        return dataclasses.replace(facts, colour=statistics.mean(max(p) - min(p) for p in pixels))
    except Exception as error:  # whatever a hostile file provokes is a finding
        return dataclasses.replace(facts, problem=str(error) or type(error).__name__)


# ------------------------------------------------------------------ checks of images: facts in, findings out


def unreadable(facts: list[ImageFacts]) -> list[Finding]:
    """Files that cannot be decoded."""
    bad = [f"{printable(f.sample.path)}: {f.problem}" for f in facts if f.problem]
    return counted(ERROR, "images cannot be decoded", bad, "replace them from the original archive")


def duplicates(facts: list[ImageFacts]) -> list[Finding]:
    """Equal contents: across splits (a leaked test), across identities (a wrong label), within one."""
    groups = defaultdict(list)
    for f in facts:
        if f.digest:
            groups[f.digest].append(f)
    by_kind: dict[str, list[str]] = defaultdict(list)
    for same in (g for g in groups.values() if len(g) > 1):
        identities = {f.sample.identity for f in same} - {UNKNOWN}
        if len({f.split for f in same}) > 1:
            kind = "splits"
        elif len(identities) > 1:
            kind = "identities"
        else:
            kind = "one identity" if identities else "unknown"
        by_kind[kind].append(" = ".join(printable(f.sample.path) for f in same))
    return [
        *counted(
            ERROR,
            "images are in both the training and the test split, by content",
            by_kind["splits"],
            "unpack the original archive again",
        ),
        *counted(
            WARNING,
            "images appear under several identities, by content",
            by_kind["identities"],
            "remove the wrong copy",
        ),
        *counted(
            WARNING,
            "images appear several times under one identity, by content",
            by_kind["one identity"],
            "remove the copies",
        ),
        *counted(WARNING, "images appear several times, by content", by_kind["unknown"], "remove the copies"),
    ]


def sizes(facts: list[ImageFacts]) -> list[Finding]:
    """Images that are too small or too large, or that are not upright."""
    whole = [f for f in facts if not f.problem]
    tiny = [f for f in whole if f.width < MIN_WIDTH or f.height < MIN_HEIGHT]
    odd = [f for f in whole if f not in tiny and not ASPECT[0] <= f.height / f.width <= ASPECT[1]]
    large = [f for f in whole if max(f.width, f.height) > MAX_SIDE]
    crops = "check that they are crops of persons"
    return [
        *counted(
            WARNING,
            f"images are smaller than {MIN_WIDTH} x {MIN_HEIGHT} pixels",
            map(sized, tiny),
            "check that they are not thumbnails",
        ),
        *counted(WARNING, "images do not have the aspect ratio of a standing person", map(sized, odd), crops),
        *counted(WARNING, f"images are longer than {MAX_SIDE} pixels", map(sized, large), crops),
    ]


def sized(f: ImageFacts) -> str:
    """Path and size of an image."""
    return f"{printable(f.sample.path)} ({f.width} x {f.height})"


def extensions(facts: list[ImageFacts]) -> list[Finding]:
    """Files whose suffix is another format's."""
    wrong = [
        f
        for f in facts
        if f.format and Path(f.sample.path).suffix.lower() not in SUFFIXES_OF.get(f.format, ("",))
    ]
    names = [f"{printable(f.sample.path)} is {f.format}" for f in wrong]
    return counted(WARNING, "images have the suffix of another format", names, "rename them or unpack again")


def camera_colours(facts: list[ImageFacts]) -> list[Finding]:
    """Cameras whose median image cannot be of their modality."""
    cameras = defaultdict(list)
    for f in facts:
        if not f.problem:
            cameras[(f.sample.camera, f.sample.modality)].append(f.colour)
    median = {camera: statistics.median(colours) for camera, colours in cameras.items()}
    coloured = [
        f"camera {c} ({s:.1f} of 255)" for (c, m), s in median.items() if m == "infrared" and s > COLOURFUL
    ]
    grey = [f"camera {c} ({s:.1f} of 255)" for (c, m), s in median.items() if m == "visible" and s < GREY]
    remedy = "check that the camera folders are not swapped"
    return [
        *counted(ERROR, "infrared cameras have coloured images", coloured, remedy),
        *counted(ERROR, "visible cameras have grey images only", grey, remedy),
    ]


def file_names(facts: list[ImageFacts]) -> list[Finding]:
    """Names that programs print or parse badly."""
    odd = [printable(f.sample.path) for f in facts if not f.sample.path.isprintable()]
    unusual = [
        f.sample.path
        for f in facts
        if f.sample.path.isprintable() and (" " in f.sample.path or not f.sample.path.isascii())
    ]
    return [
        *counted(WARNING, "names have line breaks or other unprintable characters", odd, "rename the files"),
        *counted(
            NOTE,
            "names have spaces or characters beyond ASCII",
            unusual,
            "nothing to do here; other programs may fail on them",
        ),
    ]


def links_outside(facts: list[ImageFacts], data_dir: Path) -> list[Finding]:
    """Symbolic links that leave the data folder."""
    root = os.path.realpath(data_dir.parent if data_dir.is_file() else data_dir) + os.sep
    outside = [
        printable(f.sample.path) for f in facts if not os.path.realpath(f.sample.path).startswith(root)
    ]
    remedy = "copy the files into it, unless you made the links"
    return counted(WARNING, "images are symbolic links out of the data folder", outside, remedy)


# ------------------------------------------------------------------ checks of the data set


def differences(settings: Settings, dataset: Dataset) -> list[Finding]:
    """Differences from the published data set; errors unless they were accepted."""
    accepted = settings.data.allow_incomplete or dataset.accepted
    what = "differences from the published data set"
    return counted(
        WARNING if accepted else ERROR, what, dataset.differences, "unpack the original archive again"
    )


def shared_identities(dataset: Dataset) -> list[Finding]:
    """Identities of both splits, if the data set numbers them over both; else see `duplicates`."""
    source = dataset.source
    if not source.shared_identities:
        return []
    shared = [f"identity {i}" for i in sorted(identities_of(dataset.train) & identities_of(dataset.test))]
    return counted(
        source.shared_identities,
        "identities are in both the training and the test split",
        shared,
        source.shared_remedy,
    )


def small_sets(settings: Settings, dataset: Dataset) -> list[Finding]:
    """Modalities with few images for a recipe that was tuned on tens of thousands."""
    if not dataset.source.small_remedy:
        return []
    few = [
        f"{m}: {len(samples)} images"
        for m, samples in dataset.train.items()
        if len(samples) < 4 * settings.cluster.k1
    ]
    what = (
        f"modalities have fewer training images than four rank lists of --k1 {settings.cluster.k1}; "
        "clusters may all merge"
    )
    return counted(WARNING, what, few, dataset.source.small_remedy)


def training_images(dataset: Dataset) -> list[Finding]:
    """Whether there are enough images to train on."""
    try:
        dataset.require_train()
    except UserError as error:
        return [Finding(ERROR, str(error))]
    return []


def disk(settings: Settings, dataset: Dataset) -> list[Finding]:
    """Free space against the decoded images: one copy per resize filter."""
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


def counted(severity: str, what: str, where: Iterable[str], remedy: str) -> list[Finding]:
    """One finding that counts and lists where; none if that is empty."""
    places = tuple(where)
    return [Finding(severity, f"{len(places)} {what}", places, remedy)] if places else []


# ------------------------------------------------------------------ images, weights, machine, cost


def examine_data(settings: Settings, dataset: Dataset) -> list[Finding]:
    """Every check of the data folder."""
    findings = differences(settings, dataset) + [Finding(NOTE, line) for line in dataset.remarks]
    splits = {"train": dataset.train, "test": dataset.test}
    images = [
        (s, split) for split, modalities in splits.items() for samples in modalities.values() for s in samples
    ]
    if not images:
        return [
            *findings,
            Finding(
                ERROR, "no image is listed", (str(dataset.data_dir),), "check --data-dir and the split files"
            ),
        ]
    with ThreadPoolExecutor(settings.data.workers) as pool:
        reading = pool.map(lambda image: inspect(*image), images)
        facts = list(tqdm(reading, "read images", len(images), unit="image", disable=None, leave=False))
    for check in (unreadable, duplicates, sizes, extensions, camera_colours, file_names):
        findings += check(facts)
    return [
        *findings,
        *training_images(dataset),
        *small_sets(settings, dataset),
        *links_outside(facts, dataset.data_dir),
        *shared_identities(dataset),
        *disk(settings, dataset),
    ]


def examine_weights(settings: Settings) -> list[Finding]:
    """Load the pretrained weights, as tensors only, into the recipe's model."""
    model, loaded = pretrained_model(settings)
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
    """Versions and device."""
    versions = []
    for name in PACKAGES:
        try:
            versions.append(f"{name} {importlib.import_module(name).__version__}")
        except ImportError:
            versions.append(f"{name} missing")
    findings = [Finding(NOTE, ", ".join(versions))]
    if "faiss missing" in versions and settings.cluster.knn == "faiss":
        findings.append(
            Finding(ERROR, "--knn faiss, but faiss is not installed", (), "install it, or choose --knn torch")
        )
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
            f"({settings.optim.epochs} epochs of {per_epoch} steps of "
            f"{batch} images at {seconds * 1e3:.1f} ms an image, and embedding {embedded:,} images an "
            f"epoch), and about "
            f"{activations * batch / 1e9:.1f} GB of activations in a step over all devices; a rough "
            f"estimate, measured on "
            f"{TIMED_IMAGES} random images",
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

    def note(tensor: Tensor) -> Tensor:
        saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    def step() -> float:
        began = time.perf_counter()
        with (
            torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor),
            torch.autocast(device.type, torch.bfloat16, enabled=bf16),
        ):
            features = model(images)
        sum(f.float().square().sum() for branches in features.values() for f in branches.values()).backward()
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - began

    step()  # the first one compiles
    seconds = step() / TIMED_IMAGES
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    activations = sum(count for address, count in saved.items() if address not in weights)
    return seconds, activations / TIMED_IMAGES / 2  # both steps were noted


def steps_per_epoch(settings: Settings, dataset: Dataset) -> int:
    """Optimiser steps of an epoch, as the method estimates them."""
    cameras = {m: np.array([s.camera for s in samples]) for m, samples in dataset.train.items()}
    return METHODS[settings.run.method](settings, cameras).steps_per_epoch()


# ------------------------------------------------------------------ program


def guarded(what: str, check: Callable[[], list[Finding]]) -> list[Finding]:
    """The findings of a check, or the error that it raised as one."""
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
    """All checks; the data set is opened once."""
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
        lines += [f"{f.severity}: {f.what}", *(f"    {place}" for place in f.where[:SHOWN])]
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
