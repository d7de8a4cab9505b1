"""Render a synthetic visible-infrared data set in the raw layout of a real one.

    sdcl synthesize --layout sysu --set quick --difficulty medium --seed 0 --out DIR

Equal version, layout, set, difficulty and seed give equal files. An interrupted command continues where it
stopped: `synthetic.settings.json` holds the settings of an unfinished folder, finished images are kept, and
the manifest `synthetic.json` is written last.
"""

import argparse
import concurrent.futures
import functools
import hashlib
import io
import json
import multiprocessing
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from PIL import Image
from tqdm import tqdm

from sdcl.runtime.errors import OutputError, SettingError, writing
from sdcl.runtime.files import printable, write_bytes
from sdcl.runtime.program import program
from sdcl.synthetic.person import DIFFICULTIES, Person
from sdcl.synthetic.plan import LAYOUTS, SETS, SYSU_INFRARED, Shot, cameras, plan, set_seed
from sdcl.synthetic.renderer import benchmark_person, random_camera, random_person, render
from sdcl.synthetic.scene import Camera

VERSIONS = {"reference": "synthetic-v2"}  # of sets; all others keep the bytes of synthetic-v1
MANIFEST, SETTINGS = "synthetic.json", "synthetic.settings.json"
REGDB_SIZE = (128, 64)
CHUNK = 48  # images of one task of a worker process


def build(
    out: str | os.PathLike[str],
    layout: str = "sysu",
    set_name: str = "quick",
    difficulty: str = "medium",
    seed: int = 0,
    identities: int | None = None,
    images_per_camera: int | None = None,
    jobs: int = 1,
) -> dict[str, Any]:
    """Write a data set into the folder `out` and return its manifest. A finished folder is left as it is.

    Args:
        identities, images_per_camera: see `plan`.
        jobs: worker processes; with more than one the calling module must be importable, so a script needs
            `if __name__ == "__main__"`.

    Raises:
        SettingError: unknown layout, set or difficulty, or too few identities or images.
        OutputError: `out` cannot be written, or holds something else.
    """
    if difficulty not in DIFFICULTIES:
        raise SettingError(f"--difficulty must be one of {', '.join(DIFFICULTIES)}, got {difficulty!r}")
    settings = {
        "version": VERSIONS.get(set_name, "synthetic-v1"),
        "set": set_name,
        "difficulty": difficulty,
        "seed": seed,
        "layout": layout,
        "identities": identities,
        "images_per_camera": images_per_camera,
    }
    planned = plan(layout, set_name, seed, identities, images_per_camera)
    folder = Path(out)
    manifest = _open_folder(folder, settings)
    missing_images = [shot for shot in planned.shots if not (folder / shot.path).exists()]
    missing_lists = [path for path in planned.texts if not (folder / path).exists()]
    if manifest is not None and not missing_images and not missing_lists:
        return manifest
    for path, text in planned.texts.items():
        write_bytes(folder / path, text.encode())
    _render_all(folder, settings, missing_images, len(planned.shots), jobs)
    paths = sorted([*planned.texts, *(shot.path for shot in planned.shots)])
    manifest = {
        **settings,
        "counts": planned.counts,
        "trials": list(planned.trials),
        "pillow": PIL.__version__,
        "files": {path: hashlib.sha256((folder / path).read_bytes()).hexdigest()[:16] for path in paths},
    }
    write_bytes(folder / MANIFEST, (json.dumps(manifest, indent=1) + "\n").encode())
    return manifest


def _open_folder(folder: Path, settings: dict[str, Any]) -> dict[str, Any] | None:
    """Mark a new folder with its settings. Returns the manifest if the folder has one.

    Raises:
        OutputError: the folder holds another synthetic set or other files.
    """
    name = printable(folder)
    with writing(name):
        folder.mkdir(parents=True, exist_ok=True)
    for file in (MANIFEST, SETTINGS):
        if (folder / file).exists():
            try:
                stored = json.loads((folder / file).read_text())
            except json.JSONDecodeError as error:
                message = f"{printable(folder / file)} cannot be read ({error})"
                raise OutputError(f"{message}; delete {name} or choose another --out") from error
            if any(stored.get(key) != value for key, value in settings.items()):
                other = ", ".join(f"{key} {stored.get(key)}" for key in settings)
                message = f"{name} holds another synthetic set ({other})"
                raise OutputError(f"{message}; delete it or choose another --out")
            return stored if file == MANIFEST else None
    if any(folder.iterdir()):
        message = f"{name} is not empty and holds no synthetic set"
        raise OutputError(f"{message}; choose an empty or a new folder for --out")
    write_bytes(folder / SETTINGS, (json.dumps(settings) + "\n").encode())
    return None


def _render_all(folder: Path, settings: dict[str, Any], shots: list[Shot], total: int, jobs: int) -> None:
    """Render the missing images in this process or in `jobs` worker processes."""
    chunks = [shots[i : i + CHUNK] for i in range(0, len(shots), CHUNK)]
    task = functools.partial(_render_chunk, str(folder), settings)
    title, rendered = f"{settings['layout']} {settings['set']}", total - len(shots)
    with tqdm(total=total, initial=rendered, desc=title, unit="img", disable=None) as bar:
        if jobs <= 1 or len(chunks) <= 1:
            for chunk in chunks:
                bar.update(task(chunk))
            return
        context = multiprocessing.get_context("spawn")
        with concurrent.futures.ProcessPoolExecutor(min(jobs, len(chunks)), mp_context=context) as pool:
            for future in concurrent.futures.as_completed([pool.submit(task, chunk) for chunk in chunks]):
                bar.update(future.result())


def _render_chunk(folder: str, settings: dict[str, Any], shots: list[Shot]) -> int:
    """Render and write some images; returns how many."""
    key = settings["layout"], settings["set"], settings["seed"]
    for shot in shots:
        pixels = render_shot(key, settings["difficulty"], shot)
        gray = settings["layout"] == "sysu" and shot.camera in SYSU_INFRARED
        write_bytes(Path(folder) / shot.path, encode(pixels, shot.path, gray))
    return len(shots)


def render_shot(key: tuple[str, str, int], difficulty: str, shot: Shot) -> np.ndarray:
    """Render one image of the plan of `key` (layout, set, seed), uint8 (H, W, 3)."""
    person, camera = _person(*key, shot.identity, difficulty), _cameras(*key)[shot.camera]
    size = REGDB_SIZE if key[0] == "regdb" else None
    return render(person, camera, (shot.number,), difficulty, size, shot.frame)


@functools.lru_cache(maxsize=4)
def _cameras(layout: str, set_name: str, seed: int) -> dict[int, Camera]:
    return cameras(layout, set_name, seed)


@functools.lru_cache(maxsize=256)
def _person(layout: str, set_name: str, seed: int, identity: int, difficulty: str) -> Person:
    return benchmark_person((*set_seed(layout, set_name, seed), identity), difficulty)


def encode(pixels: np.ndarray, path: str, gray: bool = False) -> bytes:
    """Encode an image uint8 (H, W, 3) as BMP or JPEG (quality 92, full chroma), by the suffix of `path`.

    Args:
        gray: keep the first channel only.
    """
    buffer = io.BytesIO()
    image = Image.fromarray(np.ascontiguousarray(pixels[..., 0]) if gray else pixels)
    if path.endswith(".bmp"):
        image.save(buffer, "BMP")
    elif gray:
        image.save(buffer, "JPEG", quality=92)
    else:
        image.save(buffer, "JPEG", quality=92, subsampling=0)
    return buffer.getvalue()


def contact_sheet(path: str | os.PathLike[str], identities: int = 7, difficulty: str = "medium") -> None:
    """Write an overview image as PNG or JPEG.

    Each identity has a row of two images by each of the six SYSU cameras and by a thermal camera.
    """
    all_cameras = [*cameras("sysu", "quick", 0).values(), random_camera((0,), "infrared", thermal=True)]
    rows = []
    for i in range(identities):
        person = random_person((i,), difficulty)
        images = [render(person, c, (n,), difficulty, (144, 64)) for c in all_cameras for n in (0, 1)]
        rows.append(np.concatenate(images, axis=1))
    Image.fromarray(np.concatenate(rows)).quantize(256).save(path, optimize=True)


def argument_parser() -> argparse.ArgumentParser:
    """The command line of `sdcl synthesize`."""
    parser = argparse.ArgumentParser(
        prog="sdcl synthesize",
        description="Render a synthetic visible-infrared data set.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--layout", choices=LAYOUTS, default="sysu", help="data set whose raw folder layout is written")
    add(
        "--set",
        choices=SETS,
        default="quick",
        dest="set_name",
        help="size; sysu: the counts of the real set; reference: the benchmark of docs/methods/reference.md",
    )
    add("--difficulty", choices=DIFFICULTIES, default="medium", help="variation in pose, light and occlusion")
    add("--seed", type=int, default=0, help="seed of identities, cameras and images")
    add("--out", metavar="DIR", help="folder to write: new, or one of the same set to continue")
    add("--identities", type=int, metavar="N", help="training identities, instead of the set's number")
    add(
        "--images-per-camera",
        type=int,
        metavar="N",
        help="images per identity and camera, or frames per track, instead of the set's",
    )
    add("--jobs", type=int, default=os.cpu_count() or 1, metavar="N", help="worker processes")
    add("--sheet", metavar="FILE", help="write an overview image (PNG or JPEG) instead of a data set")
    return parser


@program
def main(argv: Sequence[str] | None = None) -> int:
    """Run `sdcl synthesize`."""
    parser = argument_parser()
    arguments = vars(parser.parse_args(argv))
    sheet = arguments.pop("sheet")
    if sheet:
        contact_sheet(sheet, difficulty=arguments["difficulty"])
        return 0
    if not arguments["out"]:
        parser.error("--out DIR is required")
    manifest = build(**arguments)
    print(f"{arguments['out']}: {len(manifest['files'])} files, {json.dumps(manifest['counts'])}")
    return 0


if __name__ == "__main__":
    sys.exit(main(None))
