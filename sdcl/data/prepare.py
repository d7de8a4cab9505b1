"""What both prepare programs share: the Market-1501 layout of the family, its manifest, its verification and its reader.

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
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from sdcl.data.samples import MODALITIES, Sample

FOLDERS = {"visible": "rgb_modify", "infrared": "ir_modify"}
SPLITS = {"train": "bounding_box_train", "test": "bounding_box_test"}
MANIFEST, SYNTHETIC = "prepared.json", "synthetic.json"
QUERIES_PER_IDENTITY = 4  # of the family's single-modality evaluator
NAME = re.compile(r"(\d+)_c(\d+)")
IMAGES = {".jpg", ".jpeg", ".png", ".bmp"}

Split = dict[str, list[Sample]]  # modality -> samples


@dataclass(frozen=True)
class RawLayout:
    """How one data set is read as downloaded, and what is known of it.

    Args:
        name: of the data set. trials: splits it has; (0,) when there is only one.
        read: (raw root, "train" or "test", trial) -> Split. find: data folder -> raw root, or None.
        known: expected counts, keys as `count` gives. differences: further checks of (raw root, train, test) on the real data set.
    """

    name: str
    trials: tuple[int, ...]
    read: Callable[[Path, str, int], Split]
    find: Callable[[Path], Path | None]
    known: dict[str, int]
    differences: Callable[[Path, Split, Split], list[str]]
    expects: str


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


def verify(layout: RawLayout, root: Path, train: Split, test: Split) -> list[str]:
    """Every way in which a split differs from what is known of the data set (or from a synthetic set's own manifest)."""
    about = read_json(root / SYNTHETIC)
    expected = about["counts"] if about else layout.known
    found = count(train, test)
    lines = [f"{name.replace('_', ' ')}: expected {expected[name]:,}, found {found[name]:,}" for name in found if found[name] != expected[name]]
    for split, samples in (("training", train), ("test", test)):
        for m in MODALITIES:
            here, anywhere = {s.identity for s in samples[m]}, {s.identity for other in MODALITIES for s in samples[other]}
            missing = sorted(anywhere - here)
            if missing:
                lines.append(f"{split} identities without any {m} image: {_some(missing)}")
    return lines + ([] if about else layout.differences(root, train, test))


def _some(values: list) -> str:
    return ", ".join(map(str, values[:10])) + (f" and {len(values) - 10} more" if len(values) > 10 else "")


def require(differences: list[str], where: Path, allow_incomplete: bool) -> None:
    """Raise ValueError naming every difference, unless they are allowed."""
    if differences and not allow_incomplete:
        raise ValueError(
            f"{where} is not the data set it should be:\n  " + "\n  ".join(differences) + "\n"
            "Unpack the original archive again, or go on with --allow-incomplete (every later run will say so)"
        )


# ------------------------------------------------------------------ reading


def samples_of(layout: RawLayout, data_dir: Path, split: str, trial: int, allow_incomplete: bool) -> Split:
    """Samples from the prepared layout when it is there, else from the raw one, verified.

    Raises:
        ValueError: no data, a half-prepared layout, or counts that differ.
    """
    if not data_dir.is_dir():
        raise ValueError(f"no data folder at {data_dir}; put {layout.name} there ({layout.expects}) or name its folder with --data-dir")
    if layout.trials != (0,) and trial not in layout.trials:
        raise ValueError(f"--trial must be one of {layout.trials[0]}..{layout.trials[-1]}, got {trial}")
    trial = trial if layout.trials != (0,) else 0
    if all((data_dir / f).is_dir() for f in FOLDERS.values()):
        return _prepared_samples(layout, data_dir, split, trial, allow_incomplete)
    root = layout.find(data_dir)
    if root is None:
        raise ValueError(f"{data_dir} holds neither the raw {layout.name} layout ({layout.expects}) nor the prepared one (rgb_modify, ir_modify)")
    both = {s: layout.read(root, s, trial) for s in SPLITS}
    require(verify(layout, root, both["train"], both["test"]), root, allow_incomplete)
    return both[split]


def _prepared_samples(layout: RawLayout, root: Path, split: str, trial: int, allow_incomplete: bool) -> Split:
    both = {s: {m: _read_prepared(folder_of(root, m, trial) / SPLITS[s], m) for m in MODALITIES} for s in SPLITS}
    about = read_json(root / MANIFEST)
    if about is None:  # made by another program, the family's own perhaps
        require(verify(layout, root, both["train"], both["test"]), root, allow_incomplete)
        return both[split]
    if about["dataset"] != layout.name:
        raise ValueError(f"{root} holds {about['dataset']}, not {layout.name}; check -d and --data-dir")
    expected = about["counts"].get(str(trial))
    if expected is None:
        raise ValueError(f"{root} was prepared without trial {trial}; prepare it with --trials {trial}")
    found = count(both["train"], both["test"])
    if found != expected:
        changed = ", ".join(f"{k} {expected[k]} then, {found[k]} now" for k in expected if expected[k] != found[k])
        raise ValueError(f"{root} changed since it was prepared ({changed}); run the prepare program again")
    return both[split]


def folder_of(root: Path, modality: str, trial: int) -> Path:
    return root / FOLDERS[modality] / (str(trial) if trial else "")


def _read_prepared(folder: Path, modality: str) -> list[Sample]:
    if not folder.is_dir():
        raise ValueError(f"no folder {folder}; run the prepare program again")
    samples = []
    for path in list_images(folder):
        match = NAME.match(path.name)
        if not match:
            raise ValueError(f"{path}: a prepared image is named IDENTITY_cCAMERA_..., this one is not; remove it or prepare again")
        samples.append(Sample(str(path.absolute()), int(match[1]), int(match[2]), modality))
    return in_order(samples)


def notices_of(data_dir: Path) -> list[str]:
    """What every run on this folder must say."""
    lines = []
    about = read_json(data_dir / MANIFEST)
    synthetic = read_json(data_dir / SYNTHETIC) or (about or {}).get("synthetic")
    if synthetic:
        lines.append(
            f"{data_dir} is synthetic ({synthetic['version']}, set {synthetic['set']}, difficulty {synthetic['difficulty']}, "
            f"seed {synthetic['seed']}): its numbers are not those of the real data set"
        )
    if about and about["differences"]:
        lines.append(f"{data_dir} was prepared with --allow-incomplete: " + "; ".join(about["differences"]))
    return lines


def read_json(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} cannot be read ({error}); remove it and prepare again") from None


# ------------------------------------------------------------------ writing


def main(layout: RawLayout, argv: list[str] | None, default_dir: str) -> int:
    """The command line of a prepare program. Exit codes: 0 prepared, 2 not (the message says why)."""
    parser = argparse.ArgumentParser(description=f"Prepare {layout.name}: verify it, and write the Market-1501 layout of the family.")
    parser.add_argument("--data-dir", default=default_dir, help="folder with the data set as downloaded (default %(default)s)")
    parser.add_argument("--out", default="", help="folder for the prepared layout (default: --data-dir)")
    parser.add_argument("--mode", choices=("link", "copy"), default="link", help="hard links where possible, or copies")
    parser.add_argument("--jobs", type=int, default=8, help="files written at once")
    parser.add_argument("--allow-incomplete", action="store_true", help="go on although counts differ; every later run says so")
    if layout.trials != (0,):
        parser.add_argument("--trials", type=int, nargs="+", default=list(layout.trials), help="splits to prepare")
    said = parser.parse_args(argv)
    try:
        trials = getattr(said, "trials", [0])
        print(prepare(layout, Path(said.data_dir), Path(said.out or said.data_dir), trials, said.mode, said.jobs, said.allow_incomplete))
        return 0
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def prepare(layout: RawLayout, data_dir: Path, out: Path, trials: list[int], mode: str, jobs: int, allow_incomplete: bool) -> str:
    """Verify and write; a second run with nothing changed does nothing. Returns what happened, in a sentence or more.

    Raises:
        ValueError: nothing to read, or differences that are not allowed.
    """
    if not data_dir.is_dir():
        raise ValueError(f"no data folder at {data_dir}; put {layout.name} there ({layout.expects}) or name its folder with --data-dir")
    root = layout.find(data_dir)
    if root is None:
        raise ValueError(f"{data_dir} does not hold {layout.name} as downloaded: {layout.expects}")
    wrong = [t for t in trials if t not in layout.trials]
    if wrong:
        raise ValueError(f"--trials must lie in {layout.trials[0]}..{layout.trials[-1]}, got {wrong}")
    differences, plan, counts = [], {}, {}
    for trial in trials:
        both = {s: layout.read(root, s, trial) for s in SPLITS}
        differences += [f"trial {trial}: {d}" if trial else d for d in verify(layout, root, both["train"], both["test"])]
        counts[str(trial)] = count(both["train"], both["test"])
        plan |= _plan(both, out, trial)
    require(differences, root, allow_incomplete)
    manifest = {
        "dataset": layout.name, "counts": counts, "differences": differences, "synthetic": _about_synthetic(root),
        "fingerprint": _fingerprint(plan, root),
    }  # fmt: skip
    summary = f"{layout.name}: {sum(c['train_visible'] + c['train_infrared'] for c in counts.values()):,} training and "
    summary += f"{sum(c['test_visible'] + c['test_infrared'] for c in counts.values()):,} test images in {out}"
    if differences:
        summary += "\nwent on with --allow-incomplete although:\n  " + "\n  ".join(differences)
    if read_json(out / MANIFEST) == manifest and all(_same(source, target) for target, source in plan.items()):
        return f"{summary}\nnothing to do: already prepared"
    (out / MANIFEST).unlink(missing_ok=True)
    _write_all(plan, out, mode, jobs)
    part = out / f"{MANIFEST}.tmp"
    part.write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    os.replace(part, out / MANIFEST)
    return summary


def _about_synthetic(root: Path) -> dict[str, Any] | None:
    about = read_json(root / SYNTHETIC)
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


def _write_all(plan: dict[Path, Path], out: Path, mode: str, jobs: int) -> None:
    """Write what is missing, each file whole or not at all, and remove what does not belong."""
    for folder in {t.parent for t in plan}:
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.iterdir():
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
        list(tqdm(pool.map(write, plan.items()), f"prepare {out}", len(plan), unit="file", disable=None))


def _link(source: Path, target: Path) -> bool:
    try:
        os.link(source, target)
        return True
    except OSError:  # another device, or a file system without links
        return False
