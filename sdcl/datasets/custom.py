"""One's own images: two folders or a table. `-d own --data-dir DIR` (or `--data-dir FILE.csv`); docs/OWN_DATA.md shows both.

    DIR/visible, DIR/infrared   images at any depth, for training; the first folder below these is the camera, without one it is camera 1
    DIR/images.csv              a line `path,camera,modality[,identity][,split]` per image, paths from the table's own folder

Identities may be unknown. Nothing that training reads depends on them, not even the order of the images: with and without them it
gives the same weights.
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

from sdcl.datasets.prepare import IMAGES, Split
from sdcl.datasets.sample import MODALITIES, UNKNOWN, Sample
from sdcl.runtime.errors import DataError

TABLE = "images.csv"
REQUIRED, OPTIONAL = ("path", "camera", "modality"), ("identity", "split")
HEADER = "path,camera,modality[,identity][,split]"
LABELLED = f"a line with its identity and the split 'test' for each (columns {HEADER})"
CAMERA = re.compile(r"(?:cam(?:era)?|c)?[ _-]*([0-9]{1,4})", re.IGNORECASE)
PERSON = re.compile(r"([0-9]{1,9})")
NOBODY = ("-1", "?", "na", "n/a", "nan", "none", "null", "unknown")  # what programs write where they know no identity
OTHER_IMAGES = {".tif", ".tiff", ".webp", ".gif", ".jp2", ".heic", ".ppm", ".pgm"}
LEAST = 4  # training images of a modality: two clusters of two
MANY_CAMERAS = 20
NAMED = 10  # things of a kind that a message names


@dataclass(frozen=True)
class Row:
    """One image as it was listed: `path` below the root, the others as words. identity "" is unknown."""

    path: str
    camera: str
    modality: str
    identity: str = ""
    split: str = "train"


# ------------------------------------------------------------------ what the programs ask for


def read(data_dir: Path) -> dict[str, Split]:
    """split -> modality -> samples in the order of camera and path; a part that nobody listed is empty.

    A camera or identity has its own number where all of them do, else the place of its name among the names.

    Raises:
        ValueError: no such data, or a layout, a table or a line of it that cannot be used.
    """
    root, rows = _listed(data_dir)
    cameras = numbers({row.camera for row in rows}, CAMERA)
    people = numbers({row.identity for row in rows if row.identity}, PERSON) | {"": UNKNOWN}
    both: dict[str, Split] = {split: {m: [] for m in MODALITIES} for split in ("train", "test")}
    for row in sorted(rows, key=lambda row: (cameras[row.camera], row.path)):
        sample = Sample(str((root / row.path).absolute()), people[row.identity], cameras[row.camera], row.modality)
        both[row.split][row.modality].append(sample)
    return both


def samples(data_dir: Path, split: str) -> Split:
    """The samples of "train" or "test", enough of them to train on or to test with.

    Raises:
        ValueError: as `read`; too few training images; no labelled test image, none of a modality, or nobody in both modalities.
    """
    found = read(data_dir)[split]
    require_training(found, data_dir) if split == "train" else _require_test(found, data_dir)
    return found


def require_training(found: Split, data_dir: Path) -> None:
    """ValueError unless each modality can have two clusters of two images."""
    for m in MODALITIES:
        if len(found[m]) < LEAST:
            raise DataError(
                f"{data_dir} has {len(found[m])} {m} images to train on; at least {LEAST} of each modality are needed, "
                "and hundreds make sense"
            )


def has_test(data_dir: Path) -> bool:
    """Whether there is a labelled test image. Raises ValueError as `read`."""
    return any(read(data_dir)["test"].values())


def notices(data_dir: Path) -> list[str]:
    """What every run says of these images: how they were understood, and what cannot be shown of them. Raises ValueError as `read`."""
    both, rows = read(data_dir), _listed(data_dir)[1]
    counts = [f"{len(r)} {m} images of {_plural(len({s.camera for s in r}), 'camera')}" for m, r in both["train"].items()]
    tested = [f"{len(r)} {m} ones" for m, r in both["test"].items() if r]
    lines = [f"own data in {data_dir}: {' and '.join(counts)} to train on" + (f", {' and '.join(tested)} to test with" if tested else "")]
    cameras = sorted(numbers({row.camera for row in rows}, CAMERA).items(), key=lambda pair: pair[1])
    if not all(name.endswith(str(number)) for name, number in cameras):
        lines[0] += f"; the cameras' numbers are the places of their names: {_some([f'{number} {name!r}' for name, number in cameras])}"
    if len(cameras) > MANY_CAMERAS:
        lines.append(f"{len(cameras)} cameras are many: if the folders are people, put them one level lower, or list the images in {TABLE}")
    unknown = [f"{n} of {len(r)} {m}" for m, r in both["train"].items() if (n := sum(s.identity == UNKNOWN for s in r))]
    if unknown:
        lines.append(
            f"{' and '.join(unknown)} training images have no identity: adjusted Rand index, purity and the true number of people are "
            "left out where such an image counts. Training never reads an identity"
        )
    if not tested:
        lines.append("there is no labelled test image: no test metrics are shown, and python -m sdcl.test has nothing to test with")
    shared = sorted(_people(both["train"]) & _people(both["test"]))
    if shared:
        lines.append(f"{_plural(len(shared), 'identity')} in the training and in the test part: the test is no test of new people")
    return lines


# ------------------------------------------------------------------ where and what


def _listed(data_dir: Path) -> tuple[Path, list[Row]]:
    """The folder that paths count from, and every image; from the table where there is one."""
    if data_dir.is_file():
        if data_dir.suffix.lower() != ".csv":
            raise DataError(f"--data-dir {data_dir} is a file, but no .csv; name a folder or a table ({HEADER})")
        return data_dir.parent, read_table(data_dir)
    if not data_dir.is_dir():
        raise DataError(
            f"no data at {data_dir}; name with --data-dir a folder with {TABLE}, or with the folders {' and '.join(MODALITIES)}"
        )
    if (data_dir / TABLE).is_file():
        return data_dir, read_table(data_dir / TABLE)
    lacking = [m for m in MODALITIES if not (data_dir / m).is_dir()]
    if lacking:
        there = sorted(p.name + "/" * p.is_dir() for p in data_dir.iterdir() if not p.name.startswith("."))
        raise DataError(
            f"{data_dir} holds neither {TABLE} nor the folder {' and the folder '.join(lacking)}; there is: {_some(there) or 'nothing'}. "
            f"Rename what is meant, or name a table with --data-dir FILE.csv ({HEADER})"
        )
    return data_dir, [row for m in MODALITIES for row in read_folder(data_dir, m)]


def numbers(names: Iterable[str], pattern: re.Pattern[str]) -> dict[str, int]:
    """Each name's own number, where all names have one and no two the same; else 1, 2, ... in the order of the names."""
    order = sorted(names)
    own = [int(match[1]) for name in order if (match := pattern.fullmatch(name))]
    return dict(zip(order, own if len(set(own)) == len(order) else range(1, len(order) + 1)))


def _require_test(found: Split, data_dir: Path) -> None:
    if not any(found.values()):
        raise DataError(f"{data_dir} has no labelled test image; a test needs images of both modalities in a table, {LABELLED}")
    for m in MODALITIES:
        if not found[m]:
            raise DataError(f"{data_dir} has no {m} test image; each modality is searched for in the other. Add some, {LABELLED}")
    if not set.intersection(*({s.identity for s in found[m]} for m in MODALITIES)):
        raise DataError(f"no identity in {data_dir} has test images of both modalities, so nobody can be found; check the identities")


def _people(split: Split) -> set[int]:
    return {s.identity for rows in split.values() for s in rows} - {UNKNOWN}


# ------------------------------------------------------------------ two folders


def read_folder(root: Path, modality: str) -> list[Row]:
    """Images below ROOT/MODALITY; the first folder of their path is the camera's name, "1" without folders.

    Raises:
        ValueError: no images, images of kinds that are not read, links to folders, or images both beside and in camera folders.
    """
    top = root / modality
    paths = sorted(_images_below(top))
    if not paths:
        raise DataError(f"there is no image below {top} ({', '.join(sorted(IMAGES))})")
    loose = [p for p in paths if "/" not in p]
    if loose and len(loose) < len(paths):
        raise DataError(
            f"{top} holds images in folders, one per camera, and {len(loose)} beside them, such as {loose[0]!r}; "
            "move these into their camera's folder"
        )
    return [Row(f"{modality}/{p}", "1" if loose else p.partition("/")[0], modality) for p in paths]


def _images_below(top: Path) -> Iterator[str]:
    """Paths below a folder with "/" between; hidden files and folders, and files that are no images, are passed over."""

    def refuse(error: OSError) -> None:
        raise DataError(f"folder {error.filename} cannot be listed: {error.strerror}")

    for place, folders, files in os.walk(top, onerror=refuse):
        folders[:] = [f for f in folders if not f.startswith(".")]
        links = [f for f in folders if os.path.islink(os.path.join(place, f))]
        if links:
            raise DataError(
                f"{os.path.join(place, links[0])} is a link to a folder, which is not followed; put the folder there, or use {TABLE}"
            )
        for name in (f for f in files if not f.startswith(".")):
            path = os.path.relpath(os.path.join(place, name), top).replace(os.sep, "/")
            if _suffix(name) in OTHER_IMAGES:
                raise DataError(
                    f"{top / path} is an image of a kind that is not read ({', '.join(sorted(IMAGES))} are); convert it or move it"
                )
            if _suffix(name) in IMAGES:
                yield path


# ------------------------------------------------------------------ a table


def read_table(path: Path) -> list[Row]:
    """The images of a table, each line checked.

    Raises:
        ValueError: not comma-separated UTF-8, wrong columns, or lines that cannot be used: the first ten of them, each with its reason.
    """
    lines = _lines(path)
    header = next(lines, (1, []))[1]
    _check_header(path, header)
    rows: dict[str, tuple[int, Row]] = {}  # by normalised path
    faults, count = [], 0
    for number, cells in lines:
        count += 1
        said = dict(zip(header, cells))
        row = Row(
            said.get("path", ""),
            *(said.get(name, "").strip() for name in ("camera", "modality", "identity")),
            said.get("split", "").strip() or "train",
        )
        same = os.path.normpath(row.path)
        fault = f"{len(cells)} cells under {len(header)} columns" if len(cells) != len(header) else _fault(path.parent, row)
        if same in rows and not fault:
            fault = f"{row.path!r} was listed in line {rows[same][0]} already; remove one of them"
        if fault:
            faults.append(f"line {number}: {fault}")
        rows[same] = rows.get(same, (number, row))
    if faults:
        raise DataError(f"{path}: {len(faults)} of {count} lines cannot be used:\n  " + "\n  ".join(_first(faults)))
    if not rows:
        raise DataError(f"{path} lists no image; write a line {HEADER} for each")
    return [row for _, row in rows.values()]


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """(line number, cells) of each line that is not empty, the header first with blanks around its words removed."""
    try:
        content = path.read_bytes()
        text = content.decode("utf-8-sig")  # spreadsheets write a byte order mark first
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path}, line {line}: byte {content[error.start]:#04x} is not UTF-8; save the table as CSV in UTF-8") from None
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
    """ValueError unless these are the columns, in any order. A misspelled optional one would be overlooked otherwise."""
    where = f"{path}, line 1"
    for sign, name in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
        if len(header) == 1 and sign in header[0]:
            raise DataError(f"{where}: the columns are separated by {name}; save the table with commas between them ({HEADER})")
    known = REQUIRED + OPTIONAL
    for name in header:
        if name not in known:
            near = difflib.get_close_matches(name.lower(), known, 1)
            hint = f"is {near[0]!r} meant?" if near else "remove it" if set(REQUIRED) <= set(header) else "line 1 must name the columns"
            raise DataError(f"{where}: {name!r} is no column; {hint} The columns are {HEADER}")
        if header.count(name) > 1:
            raise DataError(f"{where}: the column {name!r} stands there twice; remove one")
    lacking = [name for name in REQUIRED if name not in header]
    columns = "columns" if len(lacking) > 1 else "column"
    if lacking:
        raise DataError(f"{where}: it lacks the {columns} {', '.join(lacking)}; the columns are {HEADER}")


def _fault(root: Path, row: Row) -> str:
    """What is wrong with a line, and the remedy; "" if nothing is."""
    name = row.path
    if not name or not name.isprintable():
        return f"the path {name!r} is {'unprintable' if name else 'empty'}; name the image file"
    if Path(name).is_absolute() or ".." in Path(name).parts:
        return f"{name!r} lies outside of {root}; paths count from the table's folder, move the image into it"
    if row.modality not in MODALITIES:
        return f"the modality must be {' or '.join(MODALITIES)}, got {row.modality!r}"
    if not row.camera:
        return "the camera is empty; write its number or name, 1 if there is only one"
    if row.split in ("query", "gallery"):
        return f"the split must be train or test, got {row.split!r}; write test: such an image is both, a query and in a gallery"
    if row.split not in ("train", "test"):
        return f"the split must be train or test (or empty: train), got {row.split!r}"
    if row.identity.lower() in NOBODY:
        return f"{row.identity!r} is no identity; leave the cell empty where the person is unknown"
    if row.split == "test" and not row.identity:
        return "a test image needs an identity; write it, or leave the split empty to train on the image"
    if _suffix(name) not in IMAGES:
        return f"{name!r} is no image that is read ({', '.join(sorted(IMAGES))})"
    if not os.path.isfile(root / name):  # False, not an error, for a name too long for the file system
        return f"image {root / name} is not there" + ("; write / between folders" if "\\" in name else "")
    return ""


# ------------------------------------------------------------------ words


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def _first(things: list[str]) -> list[str]:
    return things[:NAMED] + ([f"and {len(things) - NAMED} more"] if len(things) > NAMED else [])


def _some(things: list[str]) -> str:
    return ", ".join(_first(things))


def _plural(count: int, word: str) -> str:
    many = word[:-1] + "ies" if word.endswith("y") else word + "s"
    return f"{count} {word if count == 1 else many}"
