"""One's own images -> embeddings in a file. `python -m sdcl.cli.embed --help`.

    folder -> images, sorted -> test preprocessing of the checkpoint -> feature of each image and its mirror image -> unit rows

The file holds the rows, the images' paths below the folder, the settings that made them and a fingerprint of the weights. As .npz:
`embeddings` float32 (N, D), `paths` text (N,), `about` JSON text. As .safetensors: the tensor `embeddings`, and `paths` and `about`
as JSON text in its metadata.

N images, D dimensions, H height, W width.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as safetensors_bytes
from torch import nn
from tqdm import tqdm

from sdcl.config.settings import Settings, fields_by_name, from_flat
from sdcl.data.image_cache import ImageStore, decode
from sdcl.datasets.sample import MODALITIES
from sdcl.inference.extract import embed as features_of
from sdcl.inference.extract import joined
from sdcl.models.pretrained import model_of
from sdcl.runtime import checkpoint, distributed
from sdcl.runtime.errors import UserError
from sdcl.runtime.files import output_path, printable, write_bytes
from sdcl.runtime.program import program

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")  # in any case; what else lies in a folder is left alone
FORMATS = (".npz", ".safetensors")
AT_ONCE = 1024  # decoded images held in memory
SAME = ("weights", "height", "width", "resize")  # what two files must share to be compared


@dataclass(frozen=True, eq=False)
class Weights:
    """A trained model and where it comes from.

    Args:
        model: on the CPU, in eval mode. settings: of its training. fingerprint: of its tensors, the same in every file format.
        path: the file. state: what else the checkpoint holds (epoch, rows of metrics.jsonl, data fingerprint).
    """

    model: nn.Module
    settings: Settings
    fingerprint: str
    path: Path
    state: dict[str, Any]


@dataclass(frozen=True, eq=False)
class Embeddings:
    """Unit rows float32 (N, D), the paths they belong to, and what made them (root, modality, weights, height, width, resize, ...)."""

    rows: np.ndarray
    paths: list[str]
    about: dict[str, Any]

    @property
    def files(self) -> list[str]:
        """Where the images lay when they were embedded."""
        return [os.path.join(self.about["root"], path) for path in self.paths]


@program
def main(argv: list[str] | None = None) -> int:
    """Command line entry. Exit codes: 0 written, 2 bad input (the message says why)."""
    said = parser().parse_args(argv)
    out = output_path(said.out, FORMATS)
    found = embed_folder(
        open_weights(said.weights), said.images, said.modality, device=said.device, precision=said.precision,
        batch_size=said.batch_size, workers=said.workers, skip_unreadable=said.skip_unreadable,
    )  # fmt: skip
    write(out, found)
    print(f"written: {printable(out)}: {len(found.paths)} images, {found.rows.shape[1]} dimensions, weights {found.about['weights']}")
    return 0


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(
        prog="python -m sdcl.cli.embed", description="Embed every image below a folder with a trained model.", allow_abbrev=False
    )
    result.add_argument("--weights", type=Path, required=True, metavar="RUN_OR_CHECKPOINT", help=WEIGHTS_HELP)
    result.add_argument("--images", type=Path, required=True, metavar="DIR", help="folder of JPEG, PNG and BMP images, at any depth")
    result.add_argument("--modality", choices=MODALITIES, required=True, help="what kind of camera took them")
    result.add_argument("--out", type=Path, required=True, metavar="FILE", help="file to write, .npz or .safetensors")
    add_how(result)
    return result


WEIGHTS_HELP = "run folder, checkpoint, or a .safetensors file of sdcl.cli.export"


def add_how(result: argparse.ArgumentParser) -> None:
    """The flags that decide how images are embedded."""
    result.add_argument("--skip-unreadable", action="store_true", help="leave out images that cannot be decoded; they are named")
    result.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default auto)")
    result.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="fp32", help="as in training (default fp32)")
    result.add_argument("--batch-size", type=int, default=128, metavar="N", help="images embedded at once (default 128)")
    result.add_argument("--workers", type=int, default=4, metavar="N", help="threads that decode images (default 4)")


# ------------------------------------------------------------------ weights


def open_weights(path: Path) -> Weights:
    """The model of a run folder (its last readable checkpoint), of a checkpoint, or of a file that `sdcl.cli.export` wrote.

    Raises:
        ValueError: no such thing, or tensors that do not fit the settings beside them.
    """
    if path.is_dir():
        state, said = checkpoint.latest(path)
        if state is None:
            raise UserError(f"no checkpoint in {path}; name a run folder (RegDB: its trial_N) or a checkpoint with --weights")
        if said:
            print(f"note: {said}", file=sys.stderr)
    elif path.suffix == ".safetensors":
        state = _exported_state(path)
    else:
        state = checkpoint.load(path)
    settings = settings_of(state["settings"], path)
    model = model_of(settings)
    try:
        model.load_state_dict(state["model"])
    except RuntimeError as error:
        raise UserError(f"the tensors of {path} do not fit its settings: {str(error).splitlines()[0]}") from None
    return Weights(model.eval(), settings, weights_fingerprint(model), path, state)


def settings_of(values: dict[str, Any], path: Path) -> Settings:
    """Settings of a checkpoint; those that this version does not know are left out. ValueError for a value that cannot be one."""
    try:
        return from_flat({name: value for name, value in values.items() if name in fields_by_name()})
    except (TypeError, ValueError) as error:
        raise UserError(f"{path} holds a value that is no setting: {error}") from None


def _exported_state(path: Path) -> dict[str, Any]:
    """What `sdcl.cli.export` wrote into a .safetensors file, as a checkpoint's dictionary."""
    try:
        with safe_open(path, "pt") as file:
            about = json.loads((file.metadata() or {})["sdcl"])
            state = {"model": {name: file.get_tensor(name) for name in file.keys()}}  # noqa: SIM118
        return state | {name: about[name] for name in ("settings", "epoch", "data", "rows", "notes")}
    except (OSError, SafetensorError) as error:
        raise UserError(f"weight file {path} cannot be read: {error}") from None
    except (KeyError, TypeError, ValueError):
        raise UserError(f"{path} holds weights without the settings they were trained with; name a run folder or a checkpoint") from None


def weights_fingerprint(model: nn.Module) -> str:
    """Short hash of the names, shapes and values of all tensors."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


# ------------------------------------------------------------------ images


def list_images(folder: Path) -> list[str]:
    """Paths below the folder, sorted, of all files that are called images; links to folders are not followed.

    Raises:
        ValueError: no folder, one that cannot be listed, or without images.
    """
    if not folder.is_dir():
        raise UserError(f"{printable(folder)} is no folder of images")

    def refuse(error: OSError) -> None:
        raise UserError(f"folder {printable(error.filename)} cannot be listed: {error.strerror}")

    found = [
        os.path.relpath(os.path.join(place, name), folder)
        for place, _, names in os.walk(folder, onerror=refuse)
        for name in names
        if name.lower().endswith(SUFFIXES)
    ]
    if not found:
        raise UserError(f"there is no image below {printable(folder)} ({', '.join(SUFFIXES)})")
    return sorted(found)


def embed_folder(
    weights: Weights, images: Path, modality: str, *,
    device: str = "auto", precision: str = "fp32", batch_size: int = 128, workers: int = 4, skip_unreadable: bool = False,
) -> Embeddings:  # fmt: skip
    """Embed all images below a folder, or one image file, a thousand at a time.

    Raises:
        ValueError: no images, unreadable ones (each named) without `skip_unreadable`, or features that are not finite.
    """
    if batch_size < 1 or workers < 1:
        raise UserError(f"--batch-size and --workers must be above 0, got {batch_size} and {workers}")
    root, paths = (images.parent, [images.name]) if images.is_file() else (images, list_images(images))
    processes = distributed.start(device)
    bf16 = processes.bf16(precision)
    model, d = weights.model.to(processes.device), weights.settings.data
    parts, kept, broken = [], [], []
    for first in tqdm(range(0, len(paths), AT_ONCE), f"embed {modality}", unit=f"x{AT_ONCE}", disable=None, leave=False):
        part = paths[first : first + AT_ONCE]
        array, bad = _decoded([str(root / path) for path in part], d.height, d.width, d.resize_test, workers)
        broken += bad.values()
        if bad and not skip_unreadable:
            continue  # only to name them all
        kept += [path for row, path in enumerate(part) if row not in bad]
        if len(array):
            store = ImageStore(array, processes.device)
            parts.append(joined(features_of(model, store, modality, batch_size=batch_size, bf16=bf16, title="images")).cpu().numpy())
    _tell_broken(broken, skip_unreadable)
    if not kept:
        raise UserError(f"none of the {len(paths)} images below {printable(images)} can be decoded")
    rows = np.concatenate(parts).astype(np.float32)
    if not np.isfinite(rows).all():
        raise UserError(f"{printable(weights.path)} gives features that are not finite; the model diverged, take an earlier checkpoint")
    about = {
        "root": str(root.resolve()), "modality": modality, "weights": weights.fingerprint, "arch": weights.settings.model.arch,
        "method": weights.settings.run.method, "trained_on": d.dataset, "height": d.height, "width": d.width, "resize": d.resize_test,
        "precision": "bf16" if bf16 else "fp32", "mirror": True, "branches": list(model.branches),
    }  # fmt: skip
    return Embeddings(rows, kept, about)


def _decoded(paths: Sequence[str], height: int, width: int, resize: str, workers: int) -> tuple[np.ndarray, dict[int, str]]:
    """uint8 (n, H, W, 3) of the readable ones, and row -> why of the others."""
    bad: dict[int, str] = {}

    def one(row: int) -> np.ndarray | None:
        try:
            return decode(paths[row], height, width, resize)
        except UserError as error:
            bad[row] = str(error)
            return None

    with ThreadPoolExecutor(workers) as pool:
        images = [image for image in pool.map(one, range(len(paths))) if image is not None]
    return (np.stack(images) if images else np.empty((0, height, width, 3), np.uint8)), bad


def _tell_broken(broken: Sequence[str], skip: bool) -> None:
    listed = "\n  ".join(broken)
    if broken and not skip:
        raise UserError(f"{len(broken)} image(s) cannot be used; replace them, or leave them out with --skip-unreadable:\n  {listed}")
    if broken:
        print(f"left out {len(broken)} image(s) that cannot be used:\n  {listed}", file=sys.stderr)


# ------------------------------------------------------------------ files


def write(path: Path, found: Embeddings) -> None:
    """Write embeddings, whole or not at all; the ending of the path decides the format."""
    if path.suffix == ".npz":
        buffer = io.BytesIO()
        np.savez(buffer, embeddings=found.rows, paths=np.array(found.paths), about=np.array(json.dumps(found.about)))
        content = buffer.getvalue()
    else:
        content = safetensors_bytes({"embeddings": found.rows}, {"paths": json.dumps(found.paths), "about": json.dumps(found.about)})
    write_bytes(path, content)


def read(path: Path) -> Embeddings:
    """What `write` wrote.

    Raises:
        ValueError: not such a file, or rows that do not fit their paths.
    """
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as file:
                rows, paths, about = file["embeddings"], file["paths"].tolist(), json.loads(str(file["about"]))
        else:
            with safe_open(path, "np") as file:
                texts = file.metadata() or {}
                rows, paths, about = file.get_tensor("embeddings"), json.loads(texts["paths"]), json.loads(texts["about"])
        known = {"root", "modality", "resize", *SAME} <= about.keys() and isinstance(paths, list)
    except Exception as error:  # numpy, zipfile and safetensors each raise their own kinds
        raise UserError(f"{printable(path)} is no file of embeddings ({error}); make one with python -m sdcl.cli.embed") from None
    if not known or rows.ndim != 2 or rows.dtype != np.float32 or len(rows) != len(paths) or not len(rows):
        raise UserError(f"{printable(path)} is no file of embeddings of this program; make one with python -m sdcl.cli.embed")
    if not (np.abs(np.linalg.norm(rows, axis=1) - 1) < 1e-2).all():
        raise UserError(f"{printable(path)} holds rows that are not of unit length; make it again with python -m sdcl.cli.embed")
    return Embeddings(rows, [str(p) for p in paths], about)


def refuse_mixture(a: Embeddings, b: Embeddings) -> None:
    """ValueError unless both were made by the same weights and the same preprocessing."""
    differ = [f"{name} {a.about[name]} and {b.about[name]}" for name in SAME if a.about[name] != b.about[name]]
    if differ:
        raise UserError(
            f"embeddings of {printable(a.about['root'])} and of {printable(b.about['root'])} cannot be compared: {'; '.join(differ)}. "
            "Embed both with the same --weights"
        )


if __name__ == "__main__":
    sys.exit(main())
