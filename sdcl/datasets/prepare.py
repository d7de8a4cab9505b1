"""`sdcl prepare DATASET`: verify a downloaded data set and write the layout of the released code.

Files are hard links where the file system allows it, else copies; downloaded files are only read. The output
folder may be the downloaded one itself. `sdcl.datasets.published` describes the layout and reads it.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from sdcl.datasets import DATASETS
from sdcl.datasets.published import (
    FOLDERS,
    MANIFEST,
    SPLITS,
    UNFINISHED,
    PublishedSource,
    count,
    folder_of,
    prepared_name,
    read_downloaded,
    read_json,
    read_synthetic,
    require_complete,
    require_folder,
)
from sdcl.datasets.sample import MODALITIES, Split
from sdcl.runtime.errors import DataError, SettingError, writing
from sdcl.runtime.files import printable, write_text
from sdcl.runtime.program import program

PART = ".tmp"  # ends the name of a file that is being written
QUERIES_PER_IDENTITY = 4  # of the released code's single-modality evaluator


@program
def main(argv: Sequence[str] | None = None) -> int:
    """Command line entry; the first argument is the data set. Exit codes: 0 prepared, 2 bad input."""
    flags = parser().parse_args(argv)
    source = DATASETS[flags.dataset]
    assert isinstance(source, PublishedSource)
    if source.every:
        if flags.every < 1:
            raise SettingError(f"--every must be at least 1, got {flags.every}")
        source = dataclasses.replace(source, every=flags.every)
    data_dir = Path(flags.data_dir or f"data/{source.name}")
    out = Path(flags.out or data_dir)
    trials = getattr(flags, "trials", [0])
    with writing(f"the prepared layout in {out}"):
        print(prepare(source, data_dir, out, trials, flags.mode, flags.jobs, flags.allow_incomplete))
    return 0


def parser() -> argparse.ArgumentParser:
    """A subcommand for each data set that can be prepared."""
    result = argparse.ArgumentParser(
        prog="sdcl prepare",
        description="Verify a downloaded data set, and write the layout that the released code reads.",
    )
    commands = result.add_subparsers(dest="dataset", metavar="DATASET", required=True)
    for source in DATASETS.values():
        if not isinstance(source, PublishedSource):
            continue
        one = commands.add_parser(source.name, help=source.title, description=f"Prepare {source.title}.")
        one.add_argument(
            "--data-dir",
            default="",
            help=f"folder with the data set as downloaded (default data/{source.name})",
        )
        one.add_argument("--out", default="", help="folder for the prepared layout (default: --data-dir)")
        one.add_argument(
            "--mode", choices=("link", "copy"), default="link", help="hard links where possible, or copies"
        )
        one.add_argument("--jobs", type=int, default=8, help="files written at once (default %(default)s)")
        one.add_argument(
            "--allow-incomplete",
            action="store_true",
            help="accept other counts than the published ones; every later run reports it",
        )
        if source.every:
            one.add_argument(
                "--every",
                type=int,
                metavar="N",
                default=source.every,
                help="one frame in N of each track is an image (default %(default)s, which gives about as "
                "many training images as SYSU-MM01 has)",
            )
        if source.trials:
            one.add_argument(
                "--trials",
                type=int,
                nargs="+",
                default=list(source.trials),
                help="splits to prepare (default: all)",
            )
    return result


def prepare(
    source: PublishedSource,
    data_dir: Path,
    out: Path,
    trials: list[int],
    mode: str,
    jobs: int,
    allow_incomplete: bool,
) -> str:
    """Verify and write; a second run with nothing changed does nothing. Returns a summary.

    Args:
        trials: splits to prepare; [0] for a data set without trials.

    Raises:
        DataError: nothing to read, or differences that are not allowed.
    """
    require_folder(source, data_dir)
    root = source.find(data_dir)
    if root is None:
        raise DataError(f"{data_dir} does not hold {source.title} as downloaded: {source.expects}")
    wrong = [t for t in trials if source.trials and t not in source.trials]
    if wrong:
        raise DataError(f"--trials must lie in {source.trials[0]}..{source.trials[-1]}, got {wrong}")
    before = _former_manifest(source, out)
    wanted = _verified(source, root, trials, out)
    require_complete(wanted.differences, root, allow_incomplete)
    done = before.get("trials", {})
    manifest = {
        "dataset": source.title,
        "synthetic": wanted.synthetic,
        "trials": {**done, **wanted.entries},
        **({"every": source.every} if source.every else {}),
    }
    surplus = _surplus(wanted.plan)
    if before == manifest and not surplus and all(_same(raw, t) for t, raw in wanted.files().items()):
        return f"{_summary(source, wanted, out)}\nnothing to do: already prepared"
    if surplus and not before:
        raise DataError(
            f"{out} has {len(surplus)} files that `sdcl prepare` did not write and this preparation does not "
            f"have, such as {printable(surplus[0])}; move them away, or choose another --out"
        )
    kept = {trial: entry for trial, entry in done.items() if trial not in wanted.entries}
    write_text(out / MANIFEST, json.dumps({**manifest, "trials": kept, UNFINISHED: True}, indent=2) + "\n")
    for path in surplus:
        path.unlink()
    _write_all(wanted.plan, wanted.extras, out, mode, jobs)
    write_text(out / MANIFEST, json.dumps(manifest, indent=2) + "\n")
    removed = f"\nremoved: {len(surplus)} files that do not belong to it, such as " if surplus else ""
    return _summary(source, wanted, out) + (removed and removed + printable(surplus[0]))


class _Wanted(NamedTuple):
    """What a preparation is to write.

    plan, extras: path of the target -> path of the source, of images and of further files. entries: trial ->
    its entry in the manifest. differences: from the published data set, a line each. synthetic: how images
    were rendered, None for real ones.
    """

    plan: dict[Path, Path]
    extras: dict[Path, Path]
    entries: dict[str, dict[str, Any]]
    differences: list[str]
    synthetic: dict[str, Any] | None

    def files(self) -> dict[Path, Path]:
        """Images and further files."""
        return self.plan | self.extras


def _former_manifest(source: PublishedSource, out: Path) -> dict[str, Any]:
    """The manifest of an earlier preparation, {} without one. Raises DataError: it is of another data set."""
    before = read_json(out / MANIFEST) or {}
    if before.get("dataset", source.title) != source.title:
        raise DataError(
            f"{out} holds {before['dataset']}, prepared; choose another --out for {source.title}, or move "
            f"{', '.join(FOLDERS.values())} and {MANIFEST} away"
        )
    return before


def _verified(source: PublishedSource, root: Path, trials: list[int], out: Path) -> _Wanted:
    """Read and compare the lists of each trial. Raises DataError: lists or images that cannot be used."""
    synthetic = _about_synthetic(source, root)
    extras = {
        out / name: root / name
        for name in source.extras
        if (root / name).is_file() and out.resolve() != root.resolve()
    }
    wanted = _Wanted({}, extras, {}, [], synthetic)
    trained: dict[frozenset[str], int] = {}  # paths of the training images -> trial
    for trial in trials:
        both, lines = read_downloaded(source, root, trial)
        listed = frozenset(s.path for m in MODALITIES for s in both["train"][m])
        first = trained.setdefault(listed, trial)
        if first != trial and not synthetic:  # small synthetic sets have fewer splits than trials
            lines.append(f"the training images are those of trial {first}: the lists of one are copies")
        wanted.differences.extend(f"trial {trial}: {line}" if trial else line for line in lines)
        plan = _plan(both, out, trial)
        wanted.entries[str(trial)] = {
            "counts": count(both["train"], both["test"]),
            "differences": lines,
            "fingerprint": _fingerprint(plan, root),
        }
        wanted.plan.update(plan)
    return wanted


def _summary(source: PublishedSource, wanted: _Wanted, out: Path) -> str:
    counts = [entry["counts"] for entry in wanted.entries.values()]
    images = {split: sum(c[f"{split}_{m}"] for c in counts for m in MODALITIES) for split in SPLITS}
    text = f"{source.title}: {images['train']:,} training and {images['test']:,} test images in {out}"
    if wanted.differences:
        text += "\n--allow-incomplete accepted these differences:\n  " + "\n  ".join(wanted.differences)
    return text


def _about_synthetic(source: PublishedSource, root: Path) -> dict[str, Any] | None:
    about = read_synthetic(source, root)
    return {k: about[k] for k in ("version", "set", "difficulty", "seed")} if about else None


def _plan(both: dict[str, Split], out: Path, trial: int) -> dict[Path, Path]:
    """Every file of the prepared layout: path of the target -> path of the source."""
    plan = {}
    for split, folder in SPLITS.items():
        for m in MODALITIES:
            count_of: dict[int, int] = {}  # identity -> images so far
            for s in both[split][m]:
                source, name = Path(s.path), prepared_name(s)
                plan[folder_of(out, m, trial) / folder / name] = source
                count_of[s.identity] = count_of.get(s.identity, 0) + 1
                if split == "test" and count_of[s.identity] <= QUERIES_PER_IDENTITY:
                    plan[folder_of(out, m, trial) / "query" / name] = source
    return plan


def _fingerprint(plan: dict[Path, Path], root: Path) -> str:
    """Short hash of names and sizes. Raises DataError: an empty image file."""
    sizes = {source: source.stat().st_size for source in set(plan.values())}
    empty = sorted(printable(source) for source, size in sizes.items() if not size)
    if empty:
        raise DataError(
            f"{len(empty)} image files are empty, such as {empty[0]}; unpack the original archive again"
        )
    lines = sorted(f"{os.path.relpath(source, root)} {size}" for source, size in sizes.items())
    return hashlib.sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest()[:16]


def _same(source: Path, target: Path) -> bool:
    try:
        a, b = source.stat(), target.stat()
    except OSError:
        return False
    return (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino) or (a.st_size, a.st_mtime_ns) == (
        b.st_size,
        b.st_mtime_ns,
    )


def _surplus(plan: dict[Path, Path]) -> list[Path]:
    """Files in the prepared folders that are not planned; halves of interrupted writing do not count.

    Raises:
        DataError: a folder among the images.
    """
    found = []
    for folder in sorted({target.parent for target in plan}):
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            if path.is_dir():
                raise DataError(f"{path} is a folder among prepared images; move it away and prepare again")
            if path not in plan and path.suffix != PART:
                found.append(path)
    return found


def _write_all(plan: dict[Path, Path], extras: dict[Path, Path], out: Path, mode: str, jobs: int) -> None:
    """Write what is missing, each file whole or not at all."""
    for folder in {t.parent for t in plan | extras}:
        folder.mkdir(parents=True, exist_ok=True)
        for part in folder.glob(f"*{PART}"):
            part.unlink()

    def write(item: tuple[Path, Path]) -> None:
        target, source = item
        if _same(source, target):
            return
        part = target.with_name(target.name + PART)
        part.unlink(missing_ok=True)
        if mode == "copy" or not _link(source, part):
            shutil.copy2(source, part)
        os.replace(part, target)

    with ThreadPoolExecutor(jobs) as pool:
        list(
            tqdm(
                pool.map(write, (plan | extras).items()),
                f"prepare {out}",
                len(plan | extras),
                unit="file",
                disable=None,
            )
        )


def _link(source: Path, target: Path) -> bool:
    try:
        os.link(source, target)
        return True
    except OSError:  # another device, or a file system without links
        return False


if __name__ == "__main__":
    sys.exit(main(None))
