"""Find the people of some images in others: ranked results as JSON and as a picture. `python -m sdcl.cli.search --help`.

Results are ranked by the cosine similarity of the embeddings or, with --rerank, by k-reciprocal re-ranking; the JSON names which.

"Not in the gallery": a gallery always has a nearest image, also for a person whom it does not show. A query is said to be in the
gallery when its largest cosine similarity lies above a threshold (never a re-ranked distance, which depends on all other images of
the search). --calibrate F finds the threshold from a reference, such that about one person in 1/F who is not in the gallery is said to be:

- unlabelled: --reference holds images, of the queries' modality and kind of camera, of people known NOT to be in the gallery. The
  largest similarity of each to the gallery is what strangers reach.
- labelled (--labelled): the first folder of each path names the person, in the reference and in the gallery. A person's own gallery
  images are left out when the strangers' score is measured, so the reference may show people of the gallery; the share of its
  images whose own person lies above the threshold is given, too: what the threshold costs.

Of n reference images the threshold is the score of rank floor(F (n + 1)), and a query must lie above it: a further stranger, drawn as
the reference was, passes with a probability of at most F. So n must be at least 1/F - 1, and many more for a steady threshold. Many
images of few people count as few. More gallery images raise the largest similarity: calibrate anew when gallery, weights or cameras change.

Q queries, G gallery images, D dimensions.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw

from sdcl.cli.embed import (
    FORMATS,
    WEIGHTS_HELP,
    Embeddings,
    Weights,
    add_how,
    embed_folder,
    open_weights,
    read,
    refuse_mixture,
)
from sdcl.data.image_cache import FORMATS as IMAGE_FORMATS
from sdcl.data.image_cache import MAX_PIXELS
from sdcl.datasets.sample import MODALITIES
from sdcl.evaluation.rerank import Rerank, rerank
from sdcl.runtime.errors import UserError
from sdcl.runtime.files import output_path, printable, write_bytes, write_text
from sdcl.runtime.program import program

CHUNK = 256  # queries compared at once
PICTURED, MAX_ROWS = 10, 50  # gallery images of a query, queries of a picture
TILE, GAP, CAPTION = (72, 144), 6, 14  # pixels


@program
def main(argv: list[str] | None = None) -> int:
    """Command line entry. Exit codes: 0 written, 2 bad input (the message says why)."""
    search(parser().parse_args(argv))
    return 0


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(
        prog="python -m sdcl.cli.search", description=__doc__, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    place = {"type": Path, "metavar": "DIR_OR_FILE"}
    result.add_argument("--query", required=True, help="folder of images, one image, or a file of sdcl.cli.embed", **place)
    result.add_argument("--gallery", required=True, help="the same, of the images to be searched", **place)
    result.add_argument("--weights", type=Path, metavar="RUN_OR_CHECKPOINT", help=f"{WEIGHTS_HELP}; needed for folders and images")
    for side in ("query", "gallery"):
        result.add_argument(f"--{side}-modality", choices=MODALITIES, help="what kind of camera took the images; needed for folders")
    result.add_argument("--top", type=int, default=10, metavar="N", help="gallery images listed for each query (default 10)")
    result.add_argument("--rerank", action="store_true", help="rank by k-reciprocal re-ranking (Zhong et al., CVPR 2017)")
    result.add_argument("--threshold", type=float, metavar="T", help='cosine similarity that must be exceeded, else "not in the gallery"')
    result.add_argument("--calibrate", type=float, metavar="F", help="find the threshold for this false-accept rate; see above")
    result.add_argument("--reference", help="reference of --calibrate: images like the queries, or their file", **place)
    result.add_argument("--labelled", action="store_true", help="the first folder of each path names the person, see above")
    result.add_argument("--out", type=Path, required=True, metavar="FILE.json", help="results to write")
    result.add_argument("--picture", type=Path, metavar="FILE.png", help=f"picture to write: the first {MAX_ROWS} queries, {PICTURED} each")
    add_how(result)
    return result


def search(said: argparse.Namespace) -> dict[str, Any]:
    """Do what the command line says, and return what was written as JSON.

    Raises:
        ValueError: flags that do not fit together, bad images, or embeddings that must not be compared.
    """
    _check(said)
    weights = open_weights(said.weights) if said.weights else None
    query, gallery = (_embeddings(said, weights, getattr(said, side), side) for side in ("query", "gallery"))
    refuse_mixture(query, gallery)
    calibration = None
    if said.calibrate is not None:
        reference = _embeddings(said, weights, said.reference, "query")
        refuse_mixture(reference, gallery)
        calibration = calibrate(reference, gallery, said.calibrate, labelled=said.labelled)
        print(f"threshold {calibration['threshold']:.4f} from {calibration['images']} reference images, {told(calibration)}")
    threshold = calibration["threshold"] if calibration else said.threshold
    found = rank(query, gallery, said.top, threshold, Rerank() if said.rerank else None)
    about = {
        "ranking": Rerank().title if said.rerank else "cosine similarity", "threshold": threshold, "calibration": calibration,
        "query": query.about, "gallery": gallery.about | {"images": len(gallery.paths)},
    }  # fmt: skip
    result = {"about": about, "queries": found}
    write_text(said.out, json.dumps(result, indent=2) + "\n")
    print(f"written: {printable(said.out)}: {len(query.paths)} queries, {len(gallery.paths)} gallery images, ranked by {about['ranking']}")
    if said.picture:
        write_bytes(said.picture, picture(result))
        print(f"written: {printable(said.picture)}")
    return result


def told(calibration: dict[str, Any]) -> str:
    """What a calibration promises, in words."""
    rate = calibration["own_person_above"]
    cost = "" if rate is None else f"; {rate:.1%} of the images whose person is in the gallery lie above it"
    return f"false-accept rate {calibration['rate']:g}{cost}"


def _check(said: argparse.Namespace) -> None:
    if said.top < 1:
        raise UserError(f"--top must be above 0, got {said.top}")
    if said.calibrate is not None and (said.reference is None or said.threshold is not None):
        raise UserError("--calibrate finds the threshold from --reference: name one, and leave --threshold out")
    if said.calibrate is None and (said.reference is not None or said.labelled):
        raise UserError("--reference and --labelled belong to --calibrate F, such as --calibrate 0.01")
    output_path(said.out, (".json",))
    if said.picture:
        output_path(said.picture, (".png",))


def _embeddings(said: argparse.Namespace, weights: Weights | None, place: Path, side: str) -> Embeddings:
    """Embeddings of a folder, of one image, or read from a file."""
    modality = getattr(said, f"{side}_modality")
    if place.suffix in FORMATS and not place.is_dir():
        found = read(place)
        if weights and weights.fingerprint != found.about["weights"]:
            raise UserError(
                f"{printable(place)} was made by weights {found.about['weights']}, --weights {weights.path} is {weights.fingerprint}: "
                "embed its images again"
            )
        if modality and modality != found.about["modality"]:
            raise UserError(f"{printable(place)} holds {found.about['modality']} images, not {modality} ones; leave --{side}-modality out")
        return found
    if not place.exists():
        raise UserError(f"there is nothing at {printable(place)}; name a folder of images, an image, or a file of python -m sdcl.cli.embed")
    if weights is None or modality is None:
        raise UserError(f"{printable(place)} holds images: say --weights and --{side}-modality, or name a file of python -m sdcl.cli.embed")
    return embed_folder(
        weights, place, modality, device=said.device, precision=said.precision, batch_size=said.batch_size, workers=said.workers,
        skip_unreadable=said.skip_unreadable,
    )  # fmt: skip


def rank(query: Embeddings, gallery: Embeddings, top: int, threshold: float | None, how: Rerank | None) -> list[dict[str, Any]]:
    """For each query its best gallery images, best first; equals keep gallery order.

    Returns:
        One dictionary a query: `query` path; `best_similarity`; `in_gallery`, None without a threshold; `results`, each with `path`,
        cosine `similarity` and `score`, larger is better: the similarity, or 1 - re-ranked distance.
    """
    rows, listed = query.rows.astype(np.float64), gallery.rows.astype(np.float64).T  # (Q, D), (D, G)
    distance = rerank(torch.from_numpy(query.rows), torch.from_numpy(gallery.rows), how).numpy() if how else None  # (Q, G)
    found = []
    for first in range(0, len(rows), CHUNK):
        similarity = rows[first : first + CHUNK] @ listed  # (q, G)
        score = similarity if distance is None else 1.0 - distance[first : first + CHUNK]
        order = np.argsort(-score, axis=1, kind="stable")[:, :top]
        for i, best in enumerate(order):
            highest = float(similarity[i].max())
            results = [{"path": gallery.paths[g], "similarity": float(similarity[i, g]), "score": float(score[i, g])} for g in best]
            inside = None if threshold is None else highest > threshold
            found.append({"query": query.paths[first + i], "best_similarity": highest, "in_gallery": inside, "results": results})
    return found


# ------------------------------------------------------------------ calibration


def calibrate(reference: Embeddings, gallery: Embeddings, rate: float, *, labelled: bool) -> dict[str, Any]:
    """The threshold of a false-accept rate, as the top of this file says.

    Returns:
        `threshold`, `rate`, `images` (n), `labelled`, and `own_person_above`: share of the labelled images, whose person is in the
        gallery, with an own image above the threshold (None without).

    Raises:
        ValueError: a rate that cannot be, or too few reference images for it.
    """
    if not 0 < rate < 1:
        raise UserError(f"--calibrate must lie between 0 and 1, got {rate}")
    stranger, own = _best_scores(reference, gallery, labelled)
    stranger = np.sort(stranger[np.isfinite(stranger)])[::-1]  # a gallery of one person alone has no stranger's image
    place = math.floor(rate * (len(stranger) + 1) + 1e-9)
    if place < 1:
        raise UserError(f"--calibrate {rate:g} needs at least {math.ceil(1 / rate - 1e-9) - 1} reference images, got {len(stranger)}")
    threshold = float(stranger[min(place, len(stranger)) - 1])
    own = own[np.isfinite(own)]
    above = float((own > threshold).mean()) if len(own) else None
    return {"threshold": threshold, "rate": rate, "images": len(stranger), "labelled": labelled, "own_person_above": above}


def _best_scores(reference: Embeddings, gallery: Embeddings, labelled: bool) -> tuple[np.ndarray, np.ndarray]:
    """(n,) largest similarity of each image to gallery images of other people, and of its own; -inf where there is none."""
    for e in (reference, gallery) if labelled else ():
        loose = next((p for p in e.paths if "/" not in p), None)
        if loose is not None:
            raise UserError(f"--labelled: {printable(loose)} below {printable(e.about['root'])} lies in no folder that names its person")
    person, people = (np.array([p.split("/")[0] if labelled else "" for p in e.paths]) for e in (reference, gallery))
    stranger, own = np.empty(len(person)), np.empty(len(person))
    listed = gallery.rows.astype(np.float64).T
    for first in range(0, len(person), CHUNK):
        part = slice(first, first + CHUNK)
        similarity = reference.rows[part].astype(np.float64) @ listed  # (q, G)
        same = (person[part, None] == people[None]) & labelled
        stranger[part] = np.where(same, -np.inf, similarity).max(1)
        own[part] = np.where(same, similarity, -np.inf).max(1)
    return stranger, own


# ------------------------------------------------------------------ picture


def picture(result: dict[str, Any]) -> bytes:
    """PNG: a row per query with its first ten, the similarity below each; a grey cross where a file is not there any more."""
    queries = result["queries"][:MAX_ROWS]
    roots = {side: Path(result["about"][side]["root"]) for side in ("query", "gallery")}
    step = (TILE[0] + GAP, TILE[1] + CAPTION + GAP)
    columns = 1 + max(min(PICTURED, len(q["results"])) for q in queries)
    sheet = Image.new("RGB", (columns * step[0] + 3 * GAP, len(queries) * step[1] + GAP + CAPTION), "white")
    draw = ImageDraw.Draw(sheet)
    draw.text((GAP, 2), f"query, and its gallery by {result['about']['ranking']}", fill="black")
    for row, one in enumerate(queries):
        top = row * step[1] + GAP + CAPTION
        absent = one["in_gallery"] is False
        sheet.paste(_thumbnail(roots["query"] / one["query"]), (GAP, top))
        draw.text((GAP, top + TILE[1] + 1), "not there" if absent else "query", fill="#b00020" if absent else "black")
        for column, hit in enumerate(one["results"][:PICTURED], 1):
            left = 2 * GAP + column * step[0]
            sheet.paste(_thumbnail(roots["gallery"] / hit["path"]), (left, top))
            draw.text((left, top + TILE[1] + 1), f"{column}: {hit['similarity']:.3f}", fill="#808080" if absent else "black")
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    return buffer.getvalue()


def _thumbnail(path: Path) -> Image.Image:
    try:
        with Image.open(path, formats=IMAGE_FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise UserError("too large")
            return image.convert("RGB").resize(TILE, Image.Resampling.LANCZOS)
    except Exception:  # Pillow raises many kinds; a picture of results goes on without one of its images
        blank = Image.new("RGB", TILE, "#e0e0e0")
        ImageDraw.Draw(blank).line((0, 0, *TILE), fill="#808080")
        return blank


if __name__ == "__main__":
    sys.exit(main())
