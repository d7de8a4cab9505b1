"""What the prepare programs share: the Market-1501 layout of the family, its manifest, its verification and its reader.

    ROOT/rgb_modify[/TRIAL]/{bounding_box_train,query,bounding_box_test}/IIII_cC_NAME     and ir_modify the same
    ROOT/prepared.json                                                                    written last

Files are hard links where the file system allows it, else copies; raw files are only read. ROOT may be the raw folder itself.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from sdcl.datasets.sample import MODALITIES, Sample
from sdcl.runtime.errors import DataError, writing
from sdcl.runtime.files import write_text
from sdcl.runtime.program import run_program

FOLDERS = {"visible": "rgb_modify", "infrared": "ir_modify"}
SPLITS = {"train": "bounding_box_train", "test": "bounding_box_test"}
MANIFEST, SYNTHETIC = "prepared.json", "synthetic.json"
QUERIES_PER_IDENTITY = 4  # of the family's single-modality evaluator
NAME = re.compile(r"([0-9]{1,9})_c([0-9]{1,9})(?![0-9])")
IMAGES = {".jpg", ".jpeg", ".png", ".bmp"}

Split = dict[str, list[Sample]]  # modality -> samples


@dataclass(frozen=True)
class RawLayout:
    """How one data set is read as downloaded, and what is known of it.

    Args:
        key: its word on the command line. name: of the data set. trials: splits it has; (0,) when there is only one.
        read: (raw root, "train" or "test", trial) -> Split and what the split files name but the folders lack.
        find: data folder -> raw root, or None. known: expected counts, keys as `count` gives.
        differences: (train, test) -> how they differ from the real data set's further known numbers.
        extras: files beside the images that a prepared folder needs too. expects: the raw layout, in words.
    """

    key: str
    name: str
    trials: tuple[int, ...]
    read: Callable[[Path, str, int], tuple[Split, list[str]]]
    find: Callable[[Path], Path | None]
    known: dict[str, int]
    differences: Callable[[Split, Split], list[str]]
    expects: str
    extras: tuple[str, ...] = ()

    def missing(self, data_dir: Path) -> ValueError:
        return ValueError(f"{self.name} is not in {data_dir}, neither as downloaded ({self.expects}) nor prepared (rgb_modify, ir_modify)")


def in_order(samples: Iterable[Sample]) -> list[Sample]:
    """The one order of images everywhere: identity, camera, file name; never that of a directory listing."""
    return sorted(samples, key=lambda s: (s.identity, s.camera, Path(s.path).name))


def list_images(folder: Path) -> list[Path]:
    """Image files of a folder in name order; hidden files and other kinds are left out."""
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in IMAGES and not p.name.startswith("."))


# ------------------------------------------------------------------ verification


def count(train: Split, test: Split) -> dict[str, int]:
    found: dict[str, int] = {}
    for split, samples in (("train", train), ("test", test)):
        found[f"{split}_identities"] = len({s.identity for m in MODALITIES for s in samples[m]})
        found |= {f"{split}_{m}": len(samples[m]) for m in MODALITIES}
    return found


def read_raw(layout: RawLayout, root: Path, trial: int) -> tuple[dict[str, Split], list[str]]:
    """Both splits of the raw layout, and every way in which they differ from what they should be.

    What they should be are the data set's known counts, or those in a synthetic set's own manifest.
    """
    both, lines = {}, []
    for split in SPLITS:
        both[split], absent = layout.read(root, split, trial)
        lines += absent
    about = read_synthetic(layout, root)
    lines += count_differences(both, about["counts"] if about else layout.known)
    return both, lines + ([] if about else layout.differences(both["train"], both["test"]))


def count_differences(both: dict[str, Split], expected: dict[str, int]) -> list[str]:
    found = count(both["train"], both["test"])
    lines = [f"{n.replace('_', ' ')}: expected {expected[n]:,}, found {found[n]:,}" for n in found if found[n] != expected[n]]
    for split, samples in both.items():
        people = {m: {s.identity for s in samples[m]} for m in MODALITIES}
        for m in MODALITIES:
            missing = sorted(set().union(*people.values()) - people[m])
            if missing:
                lines.append(f"{split} identities without any {m} image: {_some(missing)}")
    return lines


def read_synthetic(layout: RawLayout, root: Path) -> dict[str, Any] | None:
    """The manifest of a synthetic set, or None.

    Raises:
        ValueError: it is another data set's, or not a manifest.
    """
    about = read_json(root / SYNTHETIC)
    if about is None:
        return None
    if about.get("layout") != layout.key:
        raise DataError(f"{root / SYNTHETIC} says layout {about.get('layout')!r}, this is {layout.key!r}; check -d and --data-dir")
    if not set(layout.known) <= set(about.get("counts", ())):
        raise DataError(f"{root / SYNTHETIC} lacks counts; make the synthetic set again")
    return about


def _some(values: list) -> str:
    return ", ".join(map(str, values[:10])) + (f" and {len(values) - 10} more" if len(values) > 10 else "")


def require(differences: list[str], where: Path, allow_incomplete: bool) -> None:
    """Raise ValueError naming every difference, unless they are allowed."""
    if differences and not allow_incomplete:
        raise DataError(
            f"{where} is not the data set it should be:\n  " + "\n  ".join(differences) + "\n"
            "Unpack the original archive again, or go on with --allow-incomplete (every later run will say so)"
        )


# ------------------------------------------------------------------ reading


def samples_of(layout: RawLayout, data_dir: Path, split: str, trial: int, allow_incomplete: bool) -> Split:
    """Samples from the prepared layout when it is there, else from the raw one, verified.

    Raises:
        ValueError: no data, a prepared layout that changed, or counts that differ.
    """
    both, differences = read_any(layout, data_dir, trial)
    require(differences, data_dir, allow_incomplete)
    return both[split]


def read_any(layout: RawLayout, data_dir: Path, trial: int) -> tuple[dict[str, Split], list[str]]:
    """Both splits, and the differences that nobody has allowed yet."""
    if not data_dir.is_dir():
        raise DataError(f"no data folder at {data_dir}; put {layout.name} there ({layout.expects}) or name its folder with --data-dir")
    if layout.trials == (0,):
        trial = 0
    elif trial not in layout.trials:
        raise DataError(f"--trial must be one of {layout.trials[0]}..{layout.trials[-1]}, got {trial}")
    manifest, root = read_manifest(data_dir), layout.find(data_dir)
    if manifest is None and root is not None:  # never prepared, or not to the end
        return read_raw(layout, root, trial)
    if not all((data_dir / f).is_dir() for f in FOLDERS.values()):
        raise layout.missing(data_dir)
    if manifest and manifest["dataset"] != layout.name:
        raise DataError(f"{data_dir} holds {manifest['dataset']}, not {layout.name}; check -d and --data-dir")
    if manifest and str(trial) not in manifest["trials"]:
        raise DataError(f"{data_dir} was prepared without trial {trial}; prepare it with --trials {trial}")
    both = {s: {m: _read_prepared(folder_of(data_dir, m, trial) / SPLITS[s], m) for m in MODALITIES} for s in SPLITS}
    if manifest is None:  # laid out by another program, the family's own perhaps
        return both, count_differences(both, layout.known) + layout.differences(both["train"], both["test"])
    expected, found = manifest["trials"][str(trial)]["counts"], count(both["train"], both["test"])
    if found != expected:
        changed = ", ".join(f"{k} {expected[k]} then, {found[k]} now" for k in expected if expected[k] != found[k])
        raise DataError(f"{data_dir} changed since it was prepared ({changed}); run the prepare program again")
    return both, []


def folder_of(root: Path, modality: str, trial: int) -> Path:
    return root / FOLDERS[modality] / (str(trial) if trial else "")


def _read_prepared(folder: Path, modality: str) -> list[Sample]:
    if not folder.is_dir():
        raise DataError(f"no folder {folder}; run the prepare program again")
    samples = []
    for path in list_images(folder):
        match = NAME.match(path.name)
        if not match:
            raise DataError(f"{path}: a prepared image is named IDENTITY_cCAMERA_..., this one is not; remove it or prepare again")
        samples.append(Sample(str(path.absolute()), int(match[1]), int(match[2]), modality))
    return in_order(samples)


def notices_of(layout: RawLayout, data_dir: Path, trial: int) -> list[str]:
    """What every run on this folder must say: it is synthetic, or it is incomplete."""
    lines, manifest, root = [], read_manifest(data_dir), layout.find(data_dir)
    synthetic = (manifest or {}).get("synthetic") or (read_synthetic(layout, root) if root else None)
    if synthetic:
        lines.append(
            f"{data_dir} is synthetic ({synthetic['version']}, set {synthetic['set']}, difficulty {synthetic['difficulty']}, "
            f"seed {synthetic['seed']}): its numbers are not those of the real data set"
        )
    prepared = (manifest or {}).get("trials", {}).values()
    differences = [d for t in prepared for d in t["differences"]] if manifest else read_any(layout, data_dir, trial)[1]
    if differences:
        lines.append(f"{data_dir} is incomplete, and --allow-incomplete was said: " + "; ".join(differences))
    return lines


def read_manifest(data_dir: Path) -> dict[str, Any] | None:
    """prepared.json, or None.

    Raises:
        ValueError: it is not one.
    """
    manifest = read_json(data_dir / MANIFEST)
    if manifest is not None and not {"dataset", "trials"} <= manifest.keys():
        raise DataError(f"{data_dir / MANIFEST} is not a manifest of this version; run the prepare program again")
    return manifest


def read_json(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read ({error}); remove it and prepare again") from None
    if not isinstance(content, dict):
        raise DataError(f"{path} holds no table of names and values; remove it and prepare again")
    return content


# ------------------------------------------------------------------ writing


def main(layout: RawLayout, argv: list[str] | None, default_dir: str) -> int:
    """The command line of a prepare program. Exit codes: 0 prepared, 2 not (the message says why)."""
    return run_program(lambda arguments: _main(layout, arguments, default_dir), argv)


def _main(layout: RawLayout, argv: list[str] | None, default_dir: str) -> int:
    parser = argparse.ArgumentParser(description=f"Prepare {layout.name}: verify it, and write the Market-1501 layout of the family.")
    parser.add_argument("--data-dir", default=default_dir, help="folder with the data set as downloaded (default %(default)s)")
    parser.add_argument("--out", default="", help="folder for the prepared layout (default: --data-dir)")
    parser.add_argument("--mode", choices=("link", "copy"), default="link", help="hard links where possible, or copies")
    parser.add_argument("--jobs", type=int, default=8, help="files written at once")
    parser.add_argument("--allow-incomplete", action="store_true", help="go on although counts differ; every later run says so")
    if layout.trials != (0,):
        parser.add_argument("--trials", type=int, nargs="+", default=list(layout.trials), help="splits to prepare")
    said = parser.parse_args(argv)
    trials, out = getattr(said, "trials", [0]), Path(said.out or said.data_dir)
    with writing(f"the prepared layout in {out}"):
        print(prepare(layout, Path(said.data_dir), out, trials, said.mode, said.jobs, said.allow_incomplete))
    return 0


def prepare(layout: RawLayout, data_dir: Path, out: Path, trials: list[int], mode: str, jobs: int, allow_incomplete: bool) -> str:
    """Verify and write; a second run with nothing changed does nothing. Returns what happened, in a sentence or more.

    Raises:
        ValueError: nothing to read, or differences that are not allowed.
    """
    if not data_dir.is_dir():
        raise DataError(f"no data folder at {data_dir}; put {layout.name} there ({layout.expects}) or name its folder with --data-dir")
    root = layout.find(data_dir)
    if root is None:
        raise DataError(f"{data_dir} does not hold {layout.name} as downloaded: {layout.expects}")
    wrong = [t for t in trials if t not in layout.trials]
    if wrong:
        raise DataError(f"--trials must lie in {layout.trials[0]}..{layout.trials[-1]}, got {wrong}")
    before = read_json(out / MANIFEST) or {}
    done = before.get("trials", {}) if before.get("dataset") == layout.name else {}
    differences, plan, entries = [], {}, {}
    for trial in trials:
        both, lines = read_raw(layout, root, trial)
        differences += [f"trial {trial}: {line}" if trial else line for line in lines]
        part = _plan(both, out, trial)
        entries[str(trial)] = {
            "counts": count(both["train"], both["test"]), "differences": lines, "fingerprint": _fingerprint(part, root),
        }  # fmt: skip
        plan |= part
    require(differences, root, allow_incomplete)
    extras = {out / name: root / name for name in layout.extras if (root / name).is_file() and out.resolve() != root.resolve()}
    manifest = {"dataset": layout.name, "synthetic": _about_synthetic(layout, root), "trials": {**done, **entries}}
    images = {s: sum(e["counts"][f"{s}_{m}"] for e in entries.values() for m in MODALITIES) for s in SPLITS}
    summary = f"{layout.name}: {images['train']:,} training and {images['test']:,} test images in {out}"
    if differences:
        summary += "\nwent on with --allow-incomplete although:\n  " + "\n  ".join(differences)
    if before == manifest and _nothing_else(plan) and all(_same(source, target) for target, source in (plan | extras).items()):
        return f"{summary}\nnothing to do: already prepared"
    (out / MANIFEST).unlink(missing_ok=True)
    _write_all(plan, extras, out, mode, jobs)
    write_text(out / MANIFEST, json.dumps(manifest, indent=2) + "\n")
    return summary


def _about_synthetic(layout: RawLayout, root: Path) -> dict[str, Any] | None:
    about = read_synthetic(layout, root)
    return {k: about[k] for k in ("version", "set", "difficulty", "seed")} if about else None


def _plan(both: dict[str, Split], out: Path, trial: int) -> dict[Path, Path]:
    """target -> source."""
    plan = {}
    for split, folder in SPLITS.items():
        for m in MODALITIES:
            shown: dict[int, int] = {}
            for s in both[split][m]:
                source = Path(s.path)
                name = f"{s.identity:04d}_c{s.camera}_{source.stem}{source.suffix}"
                plan[folder_of(out, m, trial) / folder / name] = source
                shown[s.identity] = shown.get(s.identity, 0) + 1
                if split == "test" and shown[s.identity] <= QUERIES_PER_IDENTITY:
                    plan[folder_of(out, m, trial) / "query" / name] = source
    return plan


def _fingerprint(plan: dict[Path, Path], root: Path) -> str:
    lines = sorted(f"{os.path.relpath(source, root)} {source.stat().st_size}" for source in set(plan.values()))
    return hashlib.sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest()[:16]


def _same(source: Path, target: Path) -> bool:
    try:
        a, b = source.stat(), target.stat()
    except OSError:
        return False
    return (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino) or (a.st_size, a.st_mtime_ns) == (b.st_size, b.st_mtime_ns)


def _nothing_else(plan: dict[Path, Path]) -> bool:
    """Whether the prepared folders hold the planned files alone."""
    return {p for folder in {t.parent for t in plan} if folder.is_dir() for p in folder.iterdir()} == plan.keys()


def _write_all(plan: dict[Path, Path], extras: dict[Path, Path], out: Path, mode: str, jobs: int) -> None:
    """Write what is missing, each file whole or not at all, and remove image files that do not belong."""
    for folder in {t.parent for t in plan | extras}:
        folder.mkdir(parents=True, exist_ok=True)
    for folder in {t.parent for t in plan}:
        for path in folder.iterdir():
            if path.is_dir():
                raise DataError(f"{path} is a folder among prepared images; move it away and prepare again")
            if path not in plan:
                path.unlink()

    def write(item: tuple[Path, Path]) -> None:
        target, source = item
        if _same(source, target):
            return
        part = target.with_name(target.name + ".tmp")
        part.unlink(missing_ok=True)
        if mode == "copy" or not _link(source, part):
            shutil.copy2(source, part)
        os.replace(part, target)

    with ThreadPoolExecutor(jobs) as pool:
        list(tqdm(pool.map(write, (plan | extras).items()), f"prepare {out}", len(plan | extras), unit="file", disable=None))


def _link(source: Path, target: Path) -> bool:
    try:
        os.link(source, target)
        return True
    except OSError:  # another device, or a file system without links
        return False
