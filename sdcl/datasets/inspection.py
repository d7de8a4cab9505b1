"""Inspection of a data set before a run: facts are read from each image file, findings are derived from them.

    read_facts(dataset, workers) -> [ImageFacts]         every image file is read once
    inspect_images(facts), inspect_dataset(dataset, ...) -> [Finding]

No check raises for a damaged image or a wrong folder: that is what findings are for.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import os
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from sdcl.datasets.base import Dataset
from sdcl.datasets.images import FORMATS, MAX_PIXELS, SUFFIXES_OF, as_rgb
from sdcl.datasets.sample import UNKNOWN, Sample, identities_of
from sdcl.runtime.errors import DataError
from sdcl.runtime.files import printable

NOTE, WARNING, ERROR = "note", "warning", "error"
# Mean difference between an image's largest and smallest colour channel, of 255: no infrared camera has more
# than COLOURFUL, no visible one less than GREY.
COLOURFUL, GREY = 8.0, 1.0
MIN_WIDTH, MIN_HEIGHT = 8, 16  # pixels
MAX_SIDE = 4096  # pixels
ASPECT = (0.8, 6.0)  # height / width of a standing person


@dataclass(frozen=True)
class Finding:
    """One result of a check.

    Args:
        severity: "note", "warning" or "error".
        what: the finding, one sentence.
        where: the files, folders, cameras or identities concerned.
        remedy: what to do about it; "" if nothing is to be done.
    """

    severity: str
    what: str
    where: tuple[str, ...] = ()
    remedy: str = ""


@dataclass(frozen=True)
class ImageFacts:
    """Properties of one image file.

    Args:
        sample: the image. split: "train" or "test".
        digest: SHA-256 of the content.
        format: Pillow's name of the format. width, height: pixels.
        colour: mean difference between the largest and the smallest channel, of 255.
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


def counted(severity: str, what: str, where: Iterable[str], remedy: str) -> list[Finding]:
    """One finding that begins with the number of items in `where`; none if there are no items."""
    items = tuple(where)
    return [Finding(severity, f"{len(items)} {what}", items, remedy)] if items else []


# ------------------------------------------------------------------ facts


def read_facts(dataset: Dataset, workers: int) -> list[ImageFacts]:
    """Read every image file of both splits once, in `workers` threads."""
    from tqdm import tqdm

    images = [
        (sample, split)
        for split, modalities in (("train", dataset.train), ("test", dataset.test))
        for samples in modalities.values()
        for sample in samples
    ]
    with ThreadPoolExecutor(workers) as pool:
        facts = pool.map(lambda image: read_image(*image), images)
        return list(tqdm(facts, "read images", len(images), unit="image", disable=None, leave=False))


def read_image(sample: Sample, split: str) -> ImageFacts:
    """Read one image file. Never raises: what goes wrong is the `problem` of the result."""
    from PIL import Image

    facts = ImageFacts(sample, split)
    try:
        if not os.path.isfile(sample.path):  # opening a pipe would block
            raise DataError("not a file")
        content = Path(sample.path).read_bytes()
        if not content:
            raise DataError("empty file")
        facts = dataclasses.replace(facts, digest=hashlib.sha256(content).hexdigest())
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            facts = dataclasses.replace(
                facts, format=image.format or "", width=image.width, height=image.height
            )
            if image.width * image.height > MAX_PIXELS:
                raise DataError(f"{image.width} x {image.height} pixels: a decompression bomb")
            cells = as_rgb(image).resize((4, 8), Image.Resampling.BOX).tobytes()
        pixels = [cells[i : i + 3] for i in range(0, len(cells), 3)]
        return dataclasses.replace(facts, colour=statistics.mean(max(p) - min(p) for p in pixels))
    except Exception as error:  # whatever a hostile file provokes is a finding
        return dataclasses.replace(facts, problem=str(error) or type(error).__name__)


# ------------------------------------------------------------------ checks of the image files


def inspect_images(facts: Sequence[ImageFacts]) -> list[Finding]:
    """All checks of the image files."""
    checks = (unreadable, duplicates, sizes, extensions, camera_colours, file_names)
    return [finding for check in checks for finding in check(facts)]


def unreadable(facts: Sequence[ImageFacts]) -> list[Finding]:
    """Files that cannot be decoded."""
    damaged = [f"{printable(f.sample.path)}: {f.problem}" for f in facts if f.problem]
    return counted(ERROR, "images cannot be decoded", damaged, "replace them from the original archive")


def duplicates(facts: Sequence[ImageFacts]) -> list[Finding]:
    """Files of equal content: in both splits (test images leak into training), or several in one split."""
    copies = defaultdict(list)  # digest -> facts
    for f in facts:
        if f.digest:
            copies[f.digest].append(f)
    by_kind: dict[str, list[str]] = defaultdict(list)
    for same in (group for group in copies.values() if len(group) > 1):
        identities = {f.sample.identity for f in same} - {UNKNOWN}
        if len({f.split for f in same}) > 1:
            kind = "splits"
        elif len(identities) > 1:
            kind = "identities"
        else:
            kind = "one identity" if identities else "unknown"
        by_kind[kind].append(" = ".join(printable(f.sample.path) for f in same))
    kinds = (
        (
            "splits",
            ERROR,
            "images are in both the training and the test split, by content",
            "unpack the original archive again",
        ),
        (
            "identities",
            WARNING,
            "images appear under several identities, by content",
            "remove the wrong copy",
        ),
        (
            "one identity",
            WARNING,
            "images appear several times under one identity, by content",
            "remove the copies",
        ),
        ("unknown", WARNING, "images appear several times, by content", "remove the copies"),
    )
    return [
        f for kind, severity, what, remedy in kinds for f in counted(severity, what, by_kind[kind], remedy)
    ]


def sizes(facts: Sequence[ImageFacts]) -> list[Finding]:
    """Images that are too small or too large, or that are not upright."""
    decoded = [f for f in facts if not f.problem]
    tiny = [f for f in decoded if f.width < MIN_WIDTH or f.height < MIN_HEIGHT]
    odd = [f for f in decoded if f not in tiny and not ASPECT[0] <= f.height / f.width <= ASPECT[1]]
    large = [f for f in decoded if max(f.width, f.height) > MAX_SIDE]
    crops = "check that they are crops of persons"
    return [
        *counted(
            WARNING,
            f"images are smaller than {MIN_WIDTH} x {MIN_HEIGHT} pixels",
            map(_with_size, tiny),
            "check that they are not thumbnails",
        ),
        *counted(
            WARNING, "images do not have the aspect ratio of a standing person", map(_with_size, odd), crops
        ),
        *counted(WARNING, f"images are longer than {MAX_SIDE} pixels", map(_with_size, large), crops),
    ]


def _with_size(facts: ImageFacts) -> str:
    return f"{printable(facts.sample.path)} ({facts.width} x {facts.height})"


def extensions(facts: Sequence[ImageFacts]) -> list[Finding]:
    """Files whose suffix belongs to another format."""
    wrong = [
        f"{printable(f.sample.path)} is {f.format}"
        for f in facts
        if f.format and Path(f.sample.path).suffix.lower() not in SUFFIXES_OF.get(f.format, ("",))
    ]
    return counted(WARNING, "images have the suffix of another format", wrong, "rename them or unpack again")


def camera_colours(facts: Sequence[ImageFacts]) -> list[Finding]:
    """Cameras whose median image cannot be of their modality."""
    colours = defaultdict(list)  # (camera, modality) -> colour of each image
    for f in facts:
        if not f.problem:
            colours[(f.sample.camera, f.sample.modality)].append(f.colour)
    median = {camera: statistics.median(values) for camera, values in colours.items()}
    coloured = [
        f"camera {c} ({s:.1f} of 255)" for (c, m), s in median.items() if m == "infrared" and s > COLOURFUL
    ]
    grey = [f"camera {c} ({s:.1f} of 255)" for (c, m), s in median.items() if m == "visible" and s < GREY]
    remedy = "check that the camera folders are not swapped"
    return [
        *counted(ERROR, "infrared cameras have coloured images", coloured, remedy),
        *counted(ERROR, "visible cameras have grey images only", grey, remedy),
    ]


def file_names(facts: Sequence[ImageFacts]) -> list[Finding]:
    """File names that programs print or parse badly."""
    paths = [f.sample.path for f in facts]
    unprintable = [printable(path) for path in paths if not path.isprintable()]
    unusual = [path for path in paths if path.isprintable() and (" " in path or not path.isascii())]
    return [
        *counted(
            WARNING,
            "names have line breaks or other unprintable characters",
            unprintable,
            "rename the files",
        ),
        *counted(
            NOTE,
            "names have spaces or characters beyond ASCII",
            unusual,
            "nothing to do here; other programs may fail on them",
        ),
    ]


# ------------------------------------------------------------------ checks of the data set


def inspect_dataset(
    dataset: Dataset, facts: Sequence[ImageFacts], *, k1: int, allow_incomplete: bool
) -> list[Finding]:
    """All checks of the lists and the folder.

    Args:
        facts: of every image (`read_facts`).
        k1: length of the rank lists that the clustering will use.
        allow_incomplete: differences from the published data set are warnings instead of errors.
    """
    return [
        *differences(dataset, allow_incomplete),
        *training_images(dataset),
        *small_sets(dataset, k1),
        *links_outside(facts, dataset.data_dir),
        *shared_identities(dataset),
    ]


def differences(dataset: Dataset, allow_incomplete: bool) -> list[Finding]:
    """Differences from the published data set; errors unless they were accepted, now or when it was
    prepared.
    """
    severity = WARNING if allow_incomplete or dataset.accepted else ERROR
    what = "differences from the published data set"
    return counted(severity, what, dataset.differences, "unpack the original archive again")


def training_images(dataset: Dataset) -> list[Finding]:
    """An error if there are too few images to train on."""
    try:
        dataset.require_train()
    except DataError as error:
        return [Finding(ERROR, str(error))]
    return []


def small_sets(dataset: Dataset, k1: int) -> list[Finding]:
    """Modalities with few images for a recipe that was tuned on tens of thousands."""
    if not dataset.source.small_remedy:
        return []
    few = [f"{m}: {len(samples)} images" for m, samples in dataset.train.items() if len(samples) < 4 * k1]
    what = f"modalities have fewer training images than four rank lists of --k1 {k1}; clusters may all merge"
    return counted(WARNING, what, few, dataset.source.small_remedy)


def shared_identities(dataset: Dataset) -> list[Finding]:
    """Identities in both splits, if the data set numbers them over both; else `duplicates` finds their
    images.
    """
    source = dataset.source
    if not source.shared_identities:
        return []
    shared = [f"identity {i}" for i in sorted(identities_of(dataset.train) & identities_of(dataset.test))]
    what = "identities are in both the training and the test split"
    return counted(source.shared_identities, what, shared, source.shared_remedy)


def links_outside(facts: Sequence[ImageFacts], data_dir: Path) -> list[Finding]:
    """Symbolic links that leave the data folder."""
    root = os.path.realpath(data_dir.parent if data_dir.is_file() else data_dir) + os.sep
    outside = [
        printable(f.sample.path) for f in facts if not os.path.realpath(f.sample.path).startswith(root)
    ]
    remedy = "copy the files into it, unless you made the links"
    return counted(WARNING, "images are symbolic links out of the data folder", outside, remedy)
