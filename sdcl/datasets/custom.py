"""Custom images, in two folders or a table: `-d custom --data-dir DIR_OR_CSV` (docs/datasets/custom.md).

    DIR/visible, DIR/infrared   images at any depth, for training; the first folder below is the camera, for
                                images without a folder it is camera 1
    DIR/images.csv              a line `path,camera,modality[,identity][,split]` per image; paths count from
                                the table's folder

Identities may be unknown. Nothing that training reads depends on them, not even the order of the images:
training gives the same weights with and without them.

Protocol: all test images of one modality against all of the other, in both directions, as RegDB's; a query
whose person the other modality does not show counts nowhere.
"""

from __future__ import annotations

import csv
import difflib
import io
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sdcl.datasets.base import Dataset, DataSource, Protocol, ProtocolOptions, plural, whole_galleries
from sdcl.datasets.images import SUFFIXES, is_image, list_images
from sdcl.datasets.sample import MODALITIES, UNKNOWN, Sample, Split, identities_of
from sdcl.runtime.errors import DataError

TABLE = "images.csv"
REQUIRED, OPTIONAL = ("path", "camera", "modality"), ("identity", "split")
HEADER = "path,camera,modality[,identity][,split]"
CAMERA = re.compile(r"(?:cam(?:era)?|c)?[ _-]*([0-9]{1,4})", re.IGNORECASE)
IDENTITY = re.compile(r"([0-9]{1,9})")
# what programs write for an unknown identity
UNKNOWN_IDENTITIES = (
    "-1",
    "?",
    "na",
    "n/a",
    "nan",
    "none",
    "null",
    "unknown",
)
OTHER_IMAGES = {".tif", ".tiff", ".webp", ".gif", ".jp2", ".heic", ".ppm", ".pgm"}
MANY_CAMERAS = 20
READ = ", ".join(sorted(SUFFIXES))
NAMED = 10  # items of a kind that a message names


@dataclass(frozen=True)
class Row:
    """One image as it was listed: `path` below the root, the others as text. identity "": unknown."""

    path: str
    camera: str
    modality: str
    identity: str = ""
    split: str = "train"


@dataclass(frozen=True, kw_only=True)
class CustomSource(DataSource):
    """Images of one's own, with or without identities."""

    def open(self, data_dir: Path, trial: int = 1, allow_incomplete: bool = False) -> Dataset:
        """Read the table or the folders. Raises DataError for what cannot be used."""
        root, rows = list_rows(data_dir)
        both, cameras = samples_of(root, rows)
        test = both["test"] if any(both["test"].values()) else {}
        return Dataset(
            source=self,
            data_dir=data_dir,
            train=both["train"],
            test=test,
            remarks=tuple(remarks(data_dir, both, cameras)),
        )


def samples_of(root: Path, rows: list[Row]) -> tuple[dict[str, Split], dict[str, int]]:
    """(split -> modality -> samples in the order of camera and path, camera's name -> number).

    A camera or identity keeps its number where all of them have one; else it is numbered by the order of the
    names.
    """
    cameras = numbers({row.camera for row in rows}, CAMERA)
    identities = numbers({row.identity for row in rows if row.identity}, IDENTITY) | {"": UNKNOWN}
    both: dict[str, Split] = {split: {m: [] for m in MODALITIES} for split in ("train", "test")}
    for row in sorted(rows, key=lambda row: (cameras[row.camera], row.path)):
        sample = Sample(
            str((root / row.path).absolute()), identities[row.identity], cameras[row.camera], row.modality
        )
        both[row.split][row.modality].append(sample)
    return both, cameras


def remarks(data_dir: Path, both: dict[str, Split], cameras: dict[str, int]) -> list[str]:
    """How the images were understood, and what cannot be computed of them."""
    counts = [
        f"{len(r)} {m} images of {plural(len({s.camera for s in r}), 'camera')}"
        for m, r in both["train"].items()
    ]
    tested = [f"{len(r)} {m}" for m, r in both["test"].items() if r]
    lines = [f"custom images in {data_dir}: {' and '.join(counts)} to train on"]
    lines[0] += f", {' and '.join(tested)} images to test with" if tested else ""
    by_number = sorted(cameras.items(), key=lambda pair: pair[1])
    if not all(name.endswith(str(number)) for name, number in by_number):
        named = _some([f"{number} {name!r}" for name, number in by_number])
        lines[0] += f"; cameras are numbered by the order of their names: {named}"
    if len(cameras) > MANY_CAMERAS:
        lines.append(
            f"{len(cameras)} cameras are many: if the folders are people, put them one level lower, or list "
            f"the images in {TABLE}"
        )
    unknown = [
        f"{n} of {len(r)} {m}"
        for m, r in both["train"].items()
        if (n := sum(s.identity == UNKNOWN for s in r))
    ]
    if unknown:
        lines.append(
            f"{' and '.join(unknown)} training images have no identity: adjusted Rand index, purity and the "
            "true number of identities are left out where such an image counts. Training reads no "
            "identity that --labels does not name"
        )
    if not tested:
        lines.append(
            "there is no labelled test image: no test metrics are shown, and there is nothing for sdcl test"
        )
    shared = identities_of(both["train"]) & identities_of(both["test"])
    if shared:
        lines.append(
            f"{plural(len(shared), 'identity')} in both the training and the test split: the test is not one "
            f"of new people"
        )
    return lines


def protocols(dataset: Dataset, options: ProtocolOptions) -> list[Protocol]:
    """Both directions over all test images."""
    # the name stays: results of older versions are compared by it
    return whole_galleries(
        "own data, all images against all of the other modality", dataset.test, {m: m for m in MODALITIES}
    )


SOURCE = CustomSource(
    name="custom",
    title="custom images",
    aliases=("own",),
    protocols=protocols,
    recipe_of="sysu",
    test_remedy=f"List them in a table, each with its identity and the split 'test' (columns {HEADER})",
    shared_identities="warning",
    shared_remedy="give each person to one of the splits, if the test is to be one of new people",
    small_remedy="lower --k1, --k1-visible-unified, --cra-k, --num-instances and --eps "
    "(docs/datasets/custom.md)",
)


# ------------------------------------------------------------------ table or folders


def list_rows(data_dir: Path) -> tuple[Path, list[Row]]:
    """The folder that paths count from, and every image; from the table where there is one.

    Raises:
        DataError: neither a table nor both folders, or images that `read_table` or `read_folder` refuses.
    """
    if data_dir.is_file():
        if data_dir.suffix.lower() != ".csv":
            raise DataError(
                f"--data-dir {data_dir} is a file, but no .csv; name a folder or a table ({HEADER})"
            )
        return data_dir.parent, read_table(data_dir)
    if not data_dir.is_dir():
        raise DataError(
            f"no data at {data_dir}; name with --data-dir a folder with {TABLE}, or with the folders "
            f"{' and '.join(MODALITIES)}"
        )
    if (data_dir / TABLE).is_file():
        return data_dir, read_table(data_dir / TABLE)
    lacking = [m for m in MODALITIES if not (data_dir / m).is_dir()]
    if lacking:
        there = sorted(p.name + "/" * p.is_dir() for p in data_dir.iterdir() if not p.name.startswith("."))
        raise DataError(
            f"{data_dir} holds neither {TABLE} nor the folder {' and the folder '.join(lacking)}; there is: "
            f"{_some(there) or 'nothing'}. Rename what is meant, or name a table with --data-dir FILE.csv "
            f"({HEADER})"
        )
    return data_dir, [row for m in MODALITIES for row in read_folder(data_dir, m)]


def numbers(names: Iterable[str], pattern: re.Pattern[str]) -> dict[str, int]:
    """The number in each name, if all names have different ones; else 1, 2, ... in the order of the names."""
    order = sorted(names)
    given = [int(match[1]) for name in order if (match := pattern.fullmatch(name))]
    return dict(zip(order, given if len(set(given)) == len(order) else range(1, len(order) + 1)))


# ------------------------------------------------------------------ two folders


def read_folder(root: Path, modality: str) -> list[Row]:
    """Images below ROOT/MODALITY; the first folder of their path is the camera's name, "1" without folders.

    Raises:
        DataError: no images, images of kinds that are not read, links to folders, or images both beside and
            in camera folders.
    """
    top = root / modality
    paths = sorted(
        p.relative_to(top).as_posix() for p in list_images(top, recursive=True, visit=_refuse_others)
    )
    if not paths:
        raise DataError(f"there is no image below {top} ({READ}); put images there")
    loose = [p for p in paths if "/" not in p]
    if loose and len(loose) < len(paths):
        raise DataError(
            f"{top} holds images in folders, one per camera, and {len(loose)} beside them, such as "
            f"{loose[0]!r}; move these into their camera's folder"
        )
    return [Row(f"{modality}/{p}", "1" if loose else p.partition("/")[0], modality) for p in paths]


def _refuse_others(parent: str, folders: list[str], files: list[str]) -> None:
    """DataError for links to folders and images of other formats, which would be left out silently."""
    for name in folders:
        path = os.path.join(parent, name)
        if os.path.islink(path):
            raise DataError(
                f"{path} is a link to a folder, which is not followed; put the folder there, or use {TABLE}"
            )
    for name in files:
        if os.path.splitext(name)[1].lower() in OTHER_IMAGES:
            raise DataError(
                f"{os.path.join(parent, name)} is an image of a format that is not read ({READ} are); "
                "convert it or move it"
            )


# ------------------------------------------------------------------ a table


def read_table(path: Path) -> list[Row]:
    """The images of a table, each line checked.

    Raises:
        DataError: not comma-separated UTF-8, wrong columns, or lines that cannot be used: the first ten of
            them, each with its reason.
    """
    lines = _lines(path)
    header = next(lines, (1, []))[1]
    _check_header(path, header)
    rows: dict[str, tuple[int, Row]] = {}  # by normalised path
    faults, count = [], 0
    for number, cells in lines:
        count += 1
        values = dict(zip(header, cells))
        camera, modality, identity, split = (
            values.get(name, "").strip() for name in ("camera", "modality", "identity", "split")
        )
        row = Row(values.get("path", ""), camera, modality, identity, split or "train")
        same = os.path.normpath(row.path)
        fault = (
            f"{len(cells)} cells under {len(header)} columns"
            if len(cells) != len(header)
            else _fault(path.parent, row)
        )
        if same in rows and not fault:
            fault = f"{row.path!r} was listed in line {rows[same][0]} already; remove one of them"
        if fault:
            faults.append(f"line {number}: {fault}")
        rows[same] = rows.get(same, (number, row))
    if faults:
        raise DataError(
            f"{path}: {len(faults)} of {count} lines cannot be used:\n  " + "\n  ".join(_first(faults))
        )
    if not rows:
        raise DataError(f"{path} lists no image; write a line {HEADER} for each")
    return [row for _, row in rows.values()]


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """(line number, cells) of each line that is not empty; the header comes first, its words stripped."""
    try:
        content = path.read_bytes()
        text = content.decode("utf-8-sig")  # spreadsheets write a byte order mark first
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}, line {line}: byte {content[error.start]:#04x} is not UTF-8; save the table as CSV in "
            f"UTF-8"
        ) from None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    first = True
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield reader.line_num, [cell.strip() for cell in cells] if first else cells
                first = False
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: {error}; check its quotation marks") from None


def _check_header(path: Path, header: list[str]) -> None:
    """DataError unless these are the columns, in any order; a misspelled optional one is refused, too."""
    line = f"{path}, line 1"
    for sign, name in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
        if len(header) == 1 and sign in header[0]:
            raise DataError(
                f"{line}: the columns are separated by {name}; save the table with commas between them "
                f"({HEADER})"
            )
    known = REQUIRED + OPTIONAL
    for name in header:
        if name not in known:
            near = difflib.get_close_matches(name.lower(), known, 1)
            hint = (
                f"is {near[0]!r} meant?"
                if near
                else "remove it."
                if set(REQUIRED) <= set(header)
                else "line 1 must name the columns."
            )
            raise DataError(f"{line}: {name!r} is no column; {hint} The columns are {HEADER}")
        if header.count(name) > 1:
            raise DataError(f"{line}: the column {name!r} stands there twice; remove one")
    lacking = [name for name in REQUIRED if name not in header]
    columns = "columns" if len(lacking) > 1 else "column"
    if lacking:
        raise DataError(f"{line}: it lacks the {columns} {', '.join(lacking)}; the columns are {HEADER}")


def _fault(root: Path, row: Row) -> str:
    """What is wrong with a line, and the remedy; "" if nothing is."""
    name = row.path
    if not name or not name.isprintable():
        return f"the path {name!r} is {'unprintable' if name else 'empty'}; name the image file"
    if Path(name).is_absolute() or ".." in Path(name).parts:
        return f"{name!r} lies outside {root}; paths count from the table's folder, move the image into it"
    if row.modality not in MODALITIES:
        return f"the modality must be {' or '.join(MODALITIES)}, got {row.modality!r}"
    if not row.camera:
        return "the camera is empty; write its number or name, 1 if there is only one"
    if row.split in ("query", "gallery"):
        return (
            f"the split must be train or test, got {row.split!r}; "
            "write test: such an image is both a query and in a gallery"
        )
    if row.split not in ("train", "test"):
        return f"the split must be train or test (or empty: train), got {row.split!r}"
    if row.identity.lower() in UNKNOWN_IDENTITIES:
        return f"{row.identity!r} is no identity; leave the cell empty where the person is unknown"
    if row.split == "test" and not row.identity:
        return "a test image needs an identity; write it, or leave the split empty to train on the image"
    if not is_image(name):
        return f"{name!r} is no image that is read ({READ})"
    if not os.path.isfile(root / name):  # False, not an error, for a name too long for the file system
        return f"image {root / name} is not there" + ("; write / between folders" if "\\" in name else "")
    return ""


# ------------------------------------------------------------------ lists in messages


def _first(items: list[str]) -> list[str]:
    return items[:NAMED] + ([f"and {len(items) - NAMED} more"] if len(items) > NAMED else [])


def _some(items: list[str]) -> str:
    return ", ".join(_first(items))
