"""Examine a data folder, a starting weight and this machine before a run: `python -m sdcl.cli.doctor -d sysu --data-dir DIR`.

Every image file is read once. Exit codes: 0 fine; 1 warnings only; 2 a run would fail or give wrong numbers.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import io
import json
import math
import os
import shutil
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from sdcl.config.settings import Settings, parser, resolve
from sdcl.data.image_cache import FORMATS, MAX_PIXELS
from sdcl.datasets import UNKNOWN, Dataset, Sample, Split, open_dataset
from sdcl.datasets.sample import identities_of
from sdcl.models.pretrained import starting_model
from sdcl.runtime.distributed import Processes
from sdcl.runtime.errors import UserError, writing
from sdcl.runtime.files import printable
from sdcl.runtime.program import program

NOTE, WARNING, ERROR = "note", "warning", "error"
EXIT_CODES = {NOTE: 0, WARNING: 1, ERROR: 2}
SUFFIXES = {"JPEG": {".jpg", ".jpeg"}, "PNG": {".png"}, "BMP": {".bmp"}}
PACKAGES = ("torch", "torchvision", "timm", "numpy", "sklearn", "faiss")
COLOURFUL, GREY = (
    8.0,
    1.0,
)  # mean difference of the extreme channels, of 255, that no infrared or visible camera has


@dataclass(frozen=True)
class Finding:
    """One thing worth saying. severity: note, warning or error. where: files or places. remedy: what to do."""

    severity: str
    what: str
    where: tuple[str, ...] = ()
    remedy: str = ""


@dataclass(frozen=True)
class Facts:
    """What one reading of an image file gave. spread: mean difference of the extreme channels. problem: why a run would refuse it."""

    sample: Sample
    split: str
    digest: str = ""
    format: str = ""
    width: int = 0
    height: int = 0
    spread: float = 0.0
    problem: str = ""


def inspect(sample: Sample, split: str) -> Facts:
    """Read one image file. Never raises."""
    facts = Facts(sample, split)
    try:
        if not os.path.isfile(sample.path):
            raise UserError("not a file")
        content = Path(sample.path).read_bytes()
        if not content:
            raise UserError("empty file")
        facts = dataclasses.replace(facts, digest=hashlib.sha256(content).hexdigest())
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            facts = dataclasses.replace(facts, format=image.format, width=image.width, height=image.height)
            if image.width * image.height > MAX_PIXELS:
                raise UserError(f"{image.width} x {image.height} pixels: a decompression bomb")
            cells = image.convert("RGB").resize((4, 8), Image.Resampling.BOX).tobytes()
        pixels = [cells[i : i + 3] for i in range(0, len(cells), 3)]
        return dataclasses.replace(facts, spread=statistics.mean(max(p) - min(p) for p in pixels))
    except Exception as error:  # whatever a hostile file provokes is a finding
        return dataclasses.replace(facts, problem=str(error) or type(error).__name__)


# ------------------------------------------------------------------ checks of images: facts in, findings out


def unreadable(facts: list[Facts]) -> list[Finding]:
    bad = [f"{printable(f.sample.path)}: {f.problem}" for f in facts if f.problem]
    return some(ERROR, "images cannot be decoded", bad, "replace them from the original archive")


def duplicates(facts: list[Facts]) -> list[Finding]:
    """Equal contents: across splits (leaks the test), across identities (a wrong label), within one."""
    groups = defaultdict(list)
    for f in facts:
        if f.digest:
            groups[f.digest].append(f)
    found: dict[str, list[str]] = defaultdict(list)
    for same in (g for g in groups.values() if len(g) > 1):
        people = {f.sample.identity for f in same} - {UNKNOWN}
        kind = (
            "splits"
            if len({f.split for f in same}) > 1
            else "identities"
            if len(people) > 1
            else "one"
            if people
            else "unknown"
        )
        found[kind].append(" = ".join(printable(f.sample.path) for f in same))
    return [
        *some(
            ERROR,
            "contents stand in both the training and the test split",
            found["splits"],
            "unpack the original archive again",
        ),
        *some(
            WARNING, "contents stand under several identities", found["identities"], "remove the wrong copy"
        ),
        *some(WARNING, "contents stand several times under one identity", found["one"], "remove the copies"),
        *some(WARNING, "contents stand several times", found["unknown"], "remove the copies"),
    ]


def sizes(facts: list[Facts]) -> list[Finding]:
    whole = [f for f in facts if not f.problem]
    tiny = [f for f in whole if f.width < 8 or f.height < 16]
    odd = [f for f in whole if f not in tiny and not 0.8 <= f.height / f.width <= 6]
    large = [f for f in whole if max(f.width, f.height) > 4096]
    return [
        *some(
            WARNING,
            "images are smaller than 8 x 16 pixels",
            map(sized, tiny),
            "check that they are no thumbnails",
        ),
        *some(
            WARNING,
            "images have not the shape of a standing person",
            map(sized, odd),
            "check that they are crops of persons",
        ),
        *some(
            WARNING,
            "images are longer than 4096 pixels",
            map(sized, large),
            "check that they are crops of persons",
        ),
    ]


def sized(f: Facts) -> str:
    return f"{printable(f.sample.path)} ({f.width} x {f.height})"


def extensions(facts: list[Facts]) -> list[Finding]:
    wrong = [
        f
        for f in facts
        if f.format and Path(f.sample.path).suffix.lower() not in SUFFIXES.get(f.format, {""})
    ]
    names = [f"{printable(f.sample.path)} is {f.format}" for f in wrong]
    return some(
        WARNING, "images are of another format than their names say", names, "rename them or unpack again"
    )


def camera_colours(facts: list[Facts]) -> list[Finding]:
    """Cameras whose typical image cannot be of their modality."""
    cameras = defaultdict(list)
    for f in facts:
        if not f.problem:
            cameras[(f.sample.camera, f.sample.modality)].append(f.spread)
    median = {camera: statistics.median(spreads) for camera, spreads in cameras.items()}
    colour = [
        f"camera {c} ({s:.1f} of 255)" for (c, m), s in median.items() if m == "infrared" and s > COLOURFUL
    ]
    grey = [f"camera {c} ({s:.1f} of 255)" for (c, m), s in median.items() if m == "visible" and s < GREY]
    remedy = "check that the camera folders are not exchanged"
    return [
        *some(ERROR, "infrared cameras show colours", colour, remedy),
        *some(ERROR, "visible cameras show only grey", grey, remedy),
    ]


def file_names(facts: list[Facts]) -> list[Finding]:
    odd = [printable(f.sample.path) for f in facts if not f.sample.path.isprintable()]
    unusual = [
        f.sample.path
        for f in facts
        if f.sample.path.isprintable() and (" " in f.sample.path or not f.sample.path.isascii())
    ]
    return [
        *some(WARNING, "names hold line breaks or other unprintable characters", odd, "rename the files"),
        *some(
            NOTE,
            "names hold spaces or characters beyond ASCII",
            unusual,
            "nothing to do here; other programs may stumble",
        ),
    ]


def links_outside(facts: list[Facts], data_dir: Path) -> list[Finding]:
    root = os.path.realpath(data_dir.parent if data_dir.is_file() else data_dir) + os.sep
    away = [printable(f.sample.path) for f in facts if not os.path.realpath(f.sample.path).startswith(root)]
    return some(
        WARNING,
        "images are symbolic links out of the data folder",
        away,
        "copy the files into it, if you did not make the links",
    )


def identities_in_both(dataset: Dataset) -> list[Finding]:
    """Identities of both splits, if the data set counts them over both; else only file contents can tell (`duplicates`)."""
    source = dataset.source
    if not source.shared_identities:
        return []
    shared = [f"identity {i}" for i in sorted(identities_of(dataset.train) & identities_of(dataset.test))]
    return some(
        source.shared_identities,
        "identities are in the training and the test split",
        shared,
        source.shared_remedy,
    )


def small_sets(settings: Settings, dataset: Dataset) -> list[Finding]:
    """Modalities with few images for a recipe that was made for tens of thousands."""
    if not dataset.source.small_remedy:
        return []
    few = [
        f"{m}: {len(rows)} images" for m, rows in dataset.train.items() if len(rows) < 4 * settings.cluster.k1
    ]
    what = f"modalities have fewer training images than four rank lists of --k1 {settings.cluster.k1}; clusters may all merge"
    return some(WARNING, what, few, dataset.source.small_remedy)


def some(severity: str, what: str, where: Iterable[str], remedy: str) -> list[Finding]:
    """One finding over all places, or none without a place."""
    places = tuple(where)
    return [Finding(severity, f"{len(places)} {what}", places, remedy)] if places else []


# ------------------------------------------------------------------ data, weight, machine


def examine_data(settings: Settings) -> list[Finding]:
    """Every check of the data folder."""
    d, folder = settings.data, settings.data_dir
    dataset = open_dataset(d.dataset, folder, trial=d.trial, allow_incomplete=True)
    accepted = d.allow_incomplete or dataset.accepted
    what = "differences from the published data set"
    found = some(
        WARNING if accepted else ERROR, what, dataset.differences, "unpack the original archive again"
    )
    found += [
        Finding(NOTE, line)
        for line in dataset.notices
        if not dataset.differences or "--allow-incomplete" not in line
    ]
    both = {"train": dataset.train, "test": dataset.test}
    jobs = [(s, split) for split, modalities in both.items() for rows in modalities.values() for s in rows]
    if not jobs:
        return [
            *found,
            Finding(ERROR, "no image is listed", (str(folder),), "check --data-dir and the split files"),
        ]
    with ThreadPoolExecutor(settings.data.workers) as pool:
        facts = list(
            tqdm(
                pool.map(lambda job: inspect(*job), jobs),
                "read images",
                len(jobs),
                unit="image",
                disable=None,
                leave=False,
            )
        )
    for check in (unreadable, duplicates, sizes, extensions, camera_colours, file_names):
        found += check(facts)
    dataset.require_train()
    found += small_sets(settings, dataset)
    return [*found, *links_outside(facts, folder), *identities_in_both(dataset), *disk(settings, both)]


def disk(settings: Settings, both: dict[str, Split]) -> list[Finding]:
    """Free space against the decoded images: one copy per resize filter."""
    count = {split: sum(map(len, rows.values())) for split, rows in both.items()}
    copies = len({settings.data.resize_train, settings.data.resize_extract})
    need = (copies * count["train"] + count["test"]) * settings.data.height * settings.data.width * 3
    place = Path(settings.data.cache_dir).absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    text = f"decoded images take {need / 1e9:.2f} GB (as much memory again if they stay cached), {free / 1e9:.1f} GB are free"
    return [
        Finding(
            ERROR if need > free else NOTE,
            text,
            (str(place),),
            "free space or choose another --cache-dir" if need > free else "",
        )
    ]


def examine_weight(settings: Settings) -> list[Finding]:
    """Load the starting weight, as tensors only, into the model of the recipe."""
    model, said = starting_model(settings)
    values = model.state_dict()
    broken = [n for n, v in values.items() if v.is_floating_point() and not torch.isfinite(v).all()]
    severity = WARNING if settings.model.pretrained == "none" else NOTE
    size = sum(v.numel() * v.element_size() for v in values.values())
    copies = 4 if settings.optim.optimizer == "adam" else 3
    memory = Finding(
        NOTE, f"weights, gradients and optimiser take {copies * size / 1e9:.2f} GB; activations come on top"
    )
    return [
        Finding(severity, said),
        memory,
        *some(ERROR, "tensors are not finite", broken, "take another weight file"),
    ]


def examine_machine(settings: Settings) -> list[Finding]:
    """Versions and device."""
    found = []
    for name in PACKAGES:
        try:
            found.append(f"{name} {importlib.import_module(name).__version__}")
        except ImportError:
            found.append(f"{name} missing")
    findings = [Finding(NOTE, ", ".join(found))]
    if "faiss missing" in found and settings.cluster.knn == "faiss":
        findings.append(
            Finding(ERROR, "--knn faiss was said, but faiss is missing", (), "install it, or say --knn torch")
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
            Finding(ERROR, f"--device {settings.run.device}, but no GPU is usable", (), "say --device cpu"),
        ]
    bf16 = Processes(0, 1, 0, torch.device("cpu")).bf16(settings.run.precision)
    return [*findings, Finding(NOTE, f"no GPU: training runs on the CPU in {'bf16' if bf16 else 'float32'}")]


def examine_cost(settings: Settings, rows: int = 6) -> list[Finding]:
    """Hours and memory of the whole run on one device of this machine, from one step of `rows` rows, scaled. An estimate."""
    settings = dataclasses.replace(settings, model=dataclasses.replace(settings.model, pretrained="none"))
    device = torch.device("cuda" if torch.cuda.is_available() and settings.run.device != "cpu" else "cpu")
    bf16 = Processes(0, 1, 0, device).bf16(settings.run.precision)
    model = starting_model(settings)[0].to(device).train()
    size = (3, settings.data.height, settings.data.width)
    images = {
        "visible": torch.randn(rows // 2, *size, device=device),
        "infrared": torch.randn(rows // 2, *size, device=device),
    }
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
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
    seconds = step() / rows
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    activations = (
        sum(n for place, n in kept.items() if place not in weights) / rows / 2
    )  # two steps were noted
    visible = settings.batch.batch_size_visible or settings.batch.batch_size
    batch = settings.batch.batch_size + visible * (2 if settings.augment.second_view else 1)
    samples = open_dataset(
        settings.data.dataset, settings.data_dir, trial=settings.data.trial, allow_incomplete=True
    ).train
    images_in_all, per_epoch = sum(map(len, samples.values())), settings.batch.iters
    if settings.run.method == "gur":
        pairs = (
            math.prod(len({s.camera for s in rows}) for rows in samples.values())
            if settings.gur.intra_camera
            else 0
        )
        per_epoch = 2 * settings.batch.iters + pairs * settings.gur.camera_iters
    steps = settings.optim.epochs * per_epoch
    hours = (
        (steps * batch + settings.optim.epochs * images_in_all * 2 / 3) * seconds / 3600
    )  # forward alone is a third; two views
    return [
        Finding(
            NOTE,
            f"about {hours:.1f} hours of model arithmetic on one {device.type} device ({settings.optim.epochs} epochs of {per_epoch} steps of "
            f"{batch} rows at {seconds * 1e3:.1f} ms a row, and embedding {images_in_all:,} images an epoch), and about {activations * batch / 1e9:.1f} GB of "
            "activations in a step over all devices; measured on a few random images, so a rough estimate",
        )
    ]


def guarded(check: Callable[[Settings], list[Finding]], settings: Settings) -> list[Finding]:
    """The findings of a check; what it raises is one of them."""
    try:
        return check(settings)
    except UserError as error:
        return [Finding(ERROR, str(error))]
    except Exception as error:  # a doctor that crashes says nothing about the other parts
        return [
            Finding(
                ERROR,
                f"{check.__name__} ended early: {type(error).__name__}: {error}",
                (),
                "check that the files can be read",
            )
        ]


def report(findings: list[Finding], shown_places: int = 5) -> str:
    lines = []
    for f in sorted(findings, key=lambda f: EXIT_CODES[f.severity]):
        more = len(f.where) - shown_places
        lines += [f"{f.severity}: {f.what}", *(f"    {place}" for place in f.where[:shown_places])]
        lines += [f"    and {more} more"] if more > 0 else []
        lines += [f"    -> {f.remedy}"] if f.remedy else []
    return "\n".join(lines)


@program
def main(argv: list[str] | None = None) -> int:
    """Command line entry; the exit code is the verdict."""
    flags = parser("python -m sdcl.cli.doctor", __doc__)
    flags.add_argument("--weights", dest="pretrained", metavar="FILE", help="the same as --pretrained")
    flags.add_argument("--json", metavar="FILE", help="write the findings there, too, with every file named")
    flags.add_argument(
        "--no-timing", dest="timing", action="store_false", help="leave out the estimate of hours and memory"
    )
    said = vars(flags.parse_args(argv))
    target, timing = said.pop("json", ""), said.pop("timing", True)
    settings, _ = resolve(said)
    checks = [examine_data, examine_weight, examine_machine, *([examine_cost] if timing else [])]
    findings = [f for check in checks for f in guarded(check, settings)]
    code = max(EXIT_CODES[f.severity] for f in findings)
    print(report(findings))
    print(
        "verdict: "
        + (
            "fine",
            "usable, with the warnings above",
            "a run would fail or give wrong numbers; see the errors above",
        )[code]
    )
    if target:
        with writing(f"--json {target}"):
            Path(target).write_text(
                json.dumps(
                    {"exit_code": code, "findings": [dataclasses.asdict(f) for f in findings]}, indent=2
                )
            )
    return code


if __name__ == "__main__":
    sys.exit(main())
