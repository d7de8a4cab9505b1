"""The synthetic two-modality benchmark, written as SYSU-MM01, RegDB or LLCM would be downloaded.

    python -m sdcl.synthetic.dataset --layout sysu --set quick --difficulty medium --seed 0 --out DIR

The same version, layout, set, difficulty and seed give the same files. An interrupted run goes on where it stopped: finished files are
kept, `synthetic.settings.json` says what the folder is being filled with, and the manifest `synthetic.json` comes last.
"""

import argparse
import concurrent.futures
import functools
import hashlib
import io
import json
import multiprocessing
import os
from pathlib import Path

import numpy as np
import PIL
from PIL import Image
from tqdm import tqdm

from sdcl.runtime.errors import UserError
from sdcl.runtime.files import write_bytes
from sdcl.runtime.program import program
from sdcl.synthetic.person import DIFFICULTIES
from sdcl.synthetic.plan import LAYOUTS, SETS, Shot, cameras, plan, set_words
from sdcl.synthetic.renderer import benchmark_person, random_camera, random_person, render

VERSION = "synthetic-v1"
MANIFEST, SETTINGS = "synthetic.json", "synthetic.settings.json"
REGDB_SIZE = (128, 64)
CHUNK = 48  # images per task of a worker


def build(
    out: str | os.PathLike,
    layout: str = "sysu",
    set_name: str = "quick",
    difficulty: str = "medium",
    seed: int = 0,
    identities: int | None = None,
    images_per_camera: int | None = None,
    jobs: int = 1,
) -> dict:
    """Writes a set into the folder `out` and returns its manifest; a finished folder is left as it is.

    Args:
        identities, images_per_camera: see `plan`.
        jobs: processes; more than one needs the caller to be importable (`if __name__ == "__main__"`).

    Raises:
        ValueError: unknown layout, set or difficulty, or `out` holds something else.
    """
    if difficulty not in DIFFICULTIES:
        raise UserError(f"difficulty is {difficulty!r}; use one of {', '.join(DIFFICULTIES)}")
    settings = {
        "version": VERSION, "set": set_name, "difficulty": difficulty, "seed": seed, "layout": layout,
        "identities": identities, "images_per_camera": images_per_camera,
    }  # fmt: skip
    work, out = plan(layout, set_name, seed, identities, images_per_camera), Path(out)
    manifest = _claim(out, settings)
    missing = [shot for shot in work.shots if not (out / shot.path).exists()]
    lost = [path for path in work.texts if not (out / path).exists()]
    if manifest is not None and not missing and not lost:
        return manifest
    for path, text in work.texts.items():
        write_bytes(out / path, text.encode())
    _render_all(out, settings, missing, len(work.shots), jobs)
    paths = sorted([*work.texts, *(shot.path for shot in work.shots)])
    manifest = {
        **settings, "counts": work.counts, "trials": list(work.trials), "pillow": PIL.__version__,
        "files": {path: hashlib.sha256((out / path).read_bytes()).hexdigest()[:16] for path in paths},
    }  # fmt: skip
    write_bytes(out / MANIFEST, (json.dumps(manifest, indent=1) + "\n").encode())
    return manifest


def _claim(out: Path, settings: dict) -> dict | None:
    """Marks `out` as the folder of these settings; its manifest when there is one. ValueError when it holds something else."""
    out.mkdir(parents=True, exist_ok=True)
    for name in (MANIFEST, SETTINGS):
        if (out / name).exists():
            try:
                found = json.loads((out / name).read_text())
            except json.JSONDecodeError as error:
                raise UserError(f"{out / name} cannot be read ({error}); delete {out} or choose another --out") from error
            if any(found.get(key) != value for key, value in settings.items()):
                held = ", ".join(f"{key} {found.get(key)}" for key in settings)
                raise UserError(f"{out} holds another synthetic set ({held}); delete it or choose another --out")
            return found if name == MANIFEST else None
    if any(out.iterdir()):
        raise UserError(f"{out} is not empty and holds no synthetic set; choose an empty or a new folder for --out")
    write_bytes(out / SETTINGS, (json.dumps(settings) + "\n").encode())
    return None


def _render_all(out: Path, settings: dict, shots: list[Shot], total: int, jobs: int) -> None:
    """Renders the missing shots, in this process or in `jobs` others."""
    chunks = [shots[i : i + CHUNK] for i in range(0, len(shots), CHUNK)]
    task = functools.partial(_render_chunk, str(out), settings)
    with tqdm(total=total, initial=total - len(shots), desc=f"{settings['layout']} {settings['set']}", unit="img", disable=None) as bar:
        if jobs <= 1 or len(chunks) <= 1:
            for chunk in chunks:
                bar.update(task(chunk))
            return
        context = multiprocessing.get_context("spawn")
        with concurrent.futures.ProcessPoolExecutor(min(jobs, len(chunks)), mp_context=context) as pool:
            for done in concurrent.futures.as_completed([pool.submit(task, chunk) for chunk in chunks]):
                bar.update(done.result())


def _render_chunk(out: str, settings: dict, shots: list[Shot]) -> int:
    """Renders and writes some shots; how many."""
    layout, key = settings["layout"], (settings["layout"], settings["set"], settings["seed"])
    for shot in shots:
        camera = _cameras(*key)[shot.camera]
        size = REGDB_SIZE if layout == "regdb" else None
        pixels = render(_person(*key, shot.identity, settings["difficulty"]), camera, (shot.number,), settings["difficulty"], size)
        write_bytes(Path(out) / shot.path, encode(pixels, shot.path, grey=layout == "sysu" and camera.modality == "infrared"))
    return len(shots)


@functools.lru_cache(maxsize=4)
def _cameras(layout: str, set_name: str, seed: int):
    return cameras(layout, set_name, seed)


@functools.lru_cache(maxsize=256)
def _person(layout: str, set_name: str, seed: int, identity: int, difficulty: str):
    return benchmark_person((*set_words(layout, set_name, seed), identity), difficulty)


def encode(pixels: np.ndarray, path: str, grey: bool = False) -> bytes:
    """The file of an image uint8 (H, W, 3): BMP or JPEG (quality 92, full colour) by the path's ending; `grey` keeps one channel."""
    buffer = io.BytesIO()
    image = Image.fromarray(np.ascontiguousarray(pixels[..., 0]) if grey else pixels)
    if path.endswith(".bmp"):
        image.save(buffer, "BMP")
    else:
        image.save(buffer, "JPEG", quality=92, **({} if grey else {"subsampling": 0}))
    return buffer.getvalue()


def sheet(path: str | os.PathLike, people: int = 7, difficulty: str = "medium") -> None:
    """A picture of `people` identities by SYSU's six cameras and a thermal one, two images each, written as PNG or JPEG."""
    seen = [*cameras("sysu", "quick", 0).values(), random_camera((0,), "infrared", thermal=True)]
    rows = [
        np.concatenate([render(random_person((i,), difficulty), c, (n,), difficulty, (144, 64)) for c in seen for n in (0, 1)], axis=1)
        for i in range(people)
    ]
    Image.fromarray(np.concatenate(rows)).quantize(256).save(path, optimize=True)


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m sdcl.synthetic.dataset", description="Write the synthetic two-modality benchmark.")
    parser.add_argument("--layout", choices=LAYOUTS, default="sysu", help="whose raw folder layout to write")
    parser.add_argument("--set", choices=SETS, default="quick", dest="set_name", help="size; 'sysu' has the real data set's own counts")
    parser.add_argument("--difficulty", choices=DIFFICULTIES, default="medium")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", help="folder to write, new or of the same set")
    parser.add_argument("--identities", type=int, help="training identities instead of the set's own")
    parser.add_argument("--images-per-camera", type=int, help="images per identity and camera instead of the set's own")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--sheet", metavar="PATH", help="draw an overview picture instead")
    return parser


@program
def main(argv: list[str] | None = None) -> int:
    """Runs the command; 2 with one line on stderr for a wrong setting."""
    parser = arguments()
    chosen = vars(parser.parse_args(argv))
    picture = chosen.pop("sheet")
    if picture:
        sheet(picture, difficulty=chosen["difficulty"])
        return 0
    if not chosen["out"]:
        parser.error("--out DIR is needed")
    manifest = build(**chosen)
    print(f"{chosen['out']}: {len(manifest['files'])} files, {json.dumps(manifest['counts'])}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
