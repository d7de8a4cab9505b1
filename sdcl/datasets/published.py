"""Published data sets: read as downloaded or as prepared, and verified against their known counts.

As downloaded, a data set has the folders and split files of its authors' archive, which its own file reads.
As prepared by `sdcl prepare`, it has the Market-1501 layout that the released ADCA, GUR and SDCL code reads:

    ROOT/rgb_modify[/TRIAL]/{bounding_box_train,query,bounding_box_test}/IIII_cC_NAME
    ROOT/ir_modify[/TRIAL]/...
    ROOT/prepared.json

A frame of a track is named IIII_cC_tT_NAME, and IIII_cC_tTq_NAME if its track is listed as a query.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdcl.datasets.base import Dataset, DataSource
from sdcl.datasets.images import list_images
from sdcl.datasets.sample import MODALITIES, NO_TRACK, Sample, Split, in_order
from sdcl.datasets.tracks import images_of, one_in, track_counts
from sdcl.runtime.errors import DataError

FOLDERS = {"visible": "rgb_modify", "infrared": "ir_modify"}
SPLITS = {"train": "bounding_box_train", "test": "bounding_box_test"}
MANIFEST, SYNTHETIC = "prepared.json", "synthetic.json"
UNFINISHED = "unfinished"  # in the manifest while `sdcl prepare` writes
MOST_LINES = 20  # of differences that are listed
NAME = re.compile(r"([0-9]{1,9})_c([0-9]{1,9})(?![0-9])")
TRACK = re.compile(r"_t([0-9]{1,9})(q?)_")  # follows NAME in sets of tracks


@dataclass(frozen=True, kw_only=True)
class PublishedSource(DataSource):
    """A data set that is downloaded from its authors and can be prepared.

    Args:
        read: (root, "train" or "test", trial) -> samples, and a sentence for everything that split files name
            and folders lack.
        find: data folder -> root of the downloaded layout, or None.
        known: expected counts, keys as `count` gives.
        compare: (train, test) -> how they differ from the data set's further known numbers.
        expects: the downloaded layout in words.
        extras: files beside the images that a prepared folder needs too.
        every: one frame in `every` of each track is an image; `read` gives all frames, and their counts are
            what is known. 0: a set of images.
    """

    read: Callable[[Path, str, int], tuple[Split, list[str]]]
    find: Callable[[Path], Path | None]
    known: dict[str, int]
    compare: Callable[[Split, Split], list[str]]
    expects: str
    extras: tuple[str, ...] = ()
    every: int = 0

    def open(self, data_dir: Path, trial: int = 1, allow_incomplete: bool = False) -> Dataset:
        """Read the prepared layout if there is one, else the downloaded one. Raises DataError."""
        require_folder(self, data_dir)
        number = self.require_trial(trial)
        manifest, root = read_manifest(data_dir), self.find(data_dir)
        if manifest and UNFINISHED in manifest and str(number or 0) not in manifest["trials"]:
            if root is None:
                raise DataError(f"`sdcl prepare` was interrupted while it wrote {data_dir}; run it again")
            manifest = None
        synthetic = (manifest or {}).get("synthetic") or (read_synthetic(self, root) if root else None)
        accepted = False
        if manifest is None and root is not None:  # never prepared, or not to the end
            both, differences = read_downloaded(self, root, number or 0)
        else:
            both = read_prepared(self, data_dir, manifest, number or 0)
            accepted = manifest is not None
            if manifest is None:  # laid out by another program, such as the released code's own
                differences = count_differences(both, self.known) + self.compare(both["train"], both["test"])
            else:
                differences = manifest["trials"][str(number or 0)]["differences"]
        if not accepted:
            require_complete(differences, data_dir, allow_incomplete)
        return Dataset(
            source=self,
            data_dir=data_dir,
            train=both["train"],
            test=both["test"],
            trial=number,
            synthetic=bool(synthetic),
            differences=tuple(differences),
            accepted=accepted,
            remarks=(
                *([_synthetic_remark(data_dir, synthetic)] if synthetic else []),
                *([_track_remark(self, manifest)] if self.every else []),
            ),
        )


def _synthetic_remark(data_dir: Path, manifest: dict[str, Any]) -> str:
    return (
        f"{data_dir} is synthetic ({manifest['version']}, set {manifest['set']}, difficulty "
        f"{manifest['difficulty']}, seed {manifest['seed']}): its numbers are not those of the real data set"
    )


def _track_remark(source: PublishedSource, manifest: dict[str, Any] | None) -> str:
    every = one_in((manifest or {}).get("every", source.every))
    return (
        f"{source.title} is a set of tracks: {every} of each is an image (sdcl prepare {source.name} "
        f"--every), and the recipes are those of -d {source.recipe_of}, untuned"
    )


# ------------------------------------------------------------------ verification


def count(train: Split, test: Split) -> dict[str, int]:
    """Numbers of identities, and of images and tracks of each modality, in both splits."""
    counts: dict[str, int] = {}
    for split, samples in (("train", train), ("test", test)):
        counts[f"{split}_identities"] = len({s.identity for m in MODALITIES for s in samples[m]})
        counts |= {f"{split}_{m}": len(samples[m]) for m in MODALITIES} | track_counts(samples, split)
    return counts


def count_differences(both: dict[str, Split], expected: dict[str, int]) -> list[str]:
    """A sentence for each count that is not the expected one, and for identities that one modality lacks."""
    counts = count(both["train"], both["test"])
    lines = [
        f"{n.replace('_', ' ')}: expected {number:,}, found {counts.get(n, 0):,}"
        for n, number in expected.items()
        if counts.get(n, 0) != number
    ]
    for split, samples in both.items():
        identities = {m: {s.identity for s in samples[m]} for m in MODALITIES}
        for m in MODALITIES:
            missing = sorted(set().union(*identities.values()) - identities[m])
            if missing:
                lines.append(f"{split} identities without any {m} image: {_first(missing)}")
    return lines


def require_complete(differences: list[str], folder: Path, allow_incomplete: bool) -> None:
    """Raise DataError with every difference, unless they are allowed."""
    if differences and not allow_incomplete:
        more = len(differences) - MOST_LINES
        listed = [*differences[:MOST_LINES], *([f"and {more} more"] if more > 0 else [])]
        raise DataError(
            f"{folder} differs from the published data set:\n  " + "\n  ".join(listed) + "\n"
            "Unpack the original archive again, or continue with --allow-incomplete (every later run will "
            "report it)"
        )


def require_folder(source: PublishedSource, data_dir: Path) -> None:
    """Raise DataError if there is no data folder."""
    if not data_dir.is_dir():
        raise DataError(
            f"no data folder at {data_dir}; put {source.title} there ({source.expects}) or name its folder "
            f"with --data-dir"
        )


def _first(values: list[int]) -> str:
    return ", ".join(map(str, values[:10])) + (f" and {len(values) - 10} more" if len(values) > 10 else "")


# ------------------------------------------------------------------ downloaded layout


def read_downloaded(source: PublishedSource, root: Path, trial: int) -> tuple[dict[str, Split], list[str]]:
    """Both splits of the downloaded layout, and how they differ from the known counts.

    The known counts of a synthetic set are those of its manifest. Those of a set of tracks are of all frames;
    what is returned are the images.
    """
    both, lines = {}, []
    for split in SPLITS:
        both[split], absent = source.read(root, split, trial)
        lines += absent
    synthetic = read_synthetic(source, root)
    lines += count_differences(both, synthetic["counts"] if synthetic else source.known)
    lines += [] if synthetic else source.compare(both["train"], both["test"])
    if source.every:
        for split in SPLITS:
            both[split], absent = images_of(both[split], source.every, split)
            lines += absent
    return both, lines


def read_synthetic(source: PublishedSource, root: Path) -> dict[str, Any] | None:
    """The manifest of a synthetic set, or None.

    Raises:
        DataError: a manifest of another data set, or a file that is not a manifest.
    """
    manifest = read_json(root / SYNTHETIC)
    if manifest is None:
        return None
    if manifest.get("layout") != source.name:
        raise DataError(
            f"{root / SYNTHETIC} says layout {manifest.get('layout')!r}, this is {source.name!r}; check -d "
            f"and --data-dir"
        )
    if not set(source.known) <= set(manifest.get("counts", ())):
        raise DataError(f"{root / SYNTHETIC} lacks counts; make the synthetic set again")
    return manifest


# ------------------------------------------------------------------ prepared layout


def read_prepared(
    source: PublishedSource, data_dir: Path, manifest: dict[str, Any] | None, trial: int
) -> dict[str, Split]:
    """Both splits of the prepared layout.

    Raises:
        DataError: no prepared layout, one of another data set or without this trial, or one that changed
            since it was written.
    """
    if not all((data_dir / folder).is_dir() for folder in FOLDERS.values()):
        folders = ", ".join(FOLDERS.values())
        raise DataError(
            f"{source.title} is not in {data_dir}, neither as downloaded ({source.expects}) nor prepared "
            f"({folders})"
        )
    if manifest and manifest["dataset"] != source.title:
        raise DataError(
            f"{data_dir} holds {manifest['dataset']}, not {source.title}; check -d and --data-dir"
        )
    if manifest and str(trial) not in manifest["trials"]:
        raise DataError(f"{data_dir} was prepared without trial {trial}; prepare it with --trials {trial}")
    both = {
        s: {m: _read_folder(folder_of(data_dir, m, trial) / SPLITS[s], m, source) for m in MODALITIES}
        for s in SPLITS
    }
    if manifest:
        expected, counts = manifest["trials"][str(trial)]["counts"], count(both["train"], both["test"])
        if counts != expected:
            changed = ", ".join(
                f"{k} {expected[k]} then, {counts[k]} now" for k in expected if expected[k] != counts[k]
            )
            raise DataError(
                f"{data_dir} changed since it was prepared ({changed}); run the prepare program again"
            )
    return both


def folder_of(root: Path, modality: str, trial: int) -> Path:
    """Folder of a modality, and of a trial if it is not 0, in the prepared layout."""
    return root / FOLDERS[modality] / (str(trial) if trial else "")


def prepared_name(sample: Sample) -> str:
    """Name of an image in the prepared layout; `_read_folder` reads it."""
    track = "" if sample.track == NO_TRACK else f"t{sample.track:05d}{'q' * sample.query}_"
    return f"{sample.identity:04d}_c{sample.camera}_{track}{Path(sample.path).name}"


def _read_folder(folder: Path, modality: str, source: PublishedSource) -> list[Sample]:
    if not folder.is_dir():
        raise DataError(f"no folder {folder}; run the prepare program again")
    samples = []
    for path in list_images(folder):
        match = NAME.match(path.name)
        track = TRACK.match(path.name, match.end()) if match and source.every else None
        if not match or (source.every and not track):
            named = "IDENTITY_cCAMERA_tTRACK_..." if source.every else "IDENTITY_cCAMERA_..."
            raise DataError(
                f"{path}: a prepared image is named {named}, this one is not; remove it or prepare again"
            )
        frame = (int(track[1]), bool(track[2])) if track else ()
        samples.append(Sample(str(path.absolute()), int(match[1]), int(match[2]), modality, *frame))
    return in_order(samples)


def read_manifest(data_dir: Path) -> dict[str, Any] | None:
    """prepared.json, or None. Raises DataError for a file that is not one."""
    manifest = read_json(data_dir / MANIFEST)
    if manifest is not None and not {"dataset", "trials"} <= manifest.keys():
        raise DataError(
            f"{data_dir / MANIFEST} is not a manifest of this version; run the prepare program again"
        )
    return manifest


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON object, None without a file. Raises DataError for anything else."""
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read ({error}); remove it and prepare again") from None
    if not isinstance(content, dict):
        raise DataError(f"{path} holds no table of names and values; remove it and prepare again")
    return content
