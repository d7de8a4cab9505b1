"""Search the people of some images among others: `sdcl search --help`.

Results are ranked by the cosine similarity of the embeddings or, with --rerank, by k-reciprocal re-ranking;
the JSON names which.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdcl.config.command_line import add_arguments, new_parser, read_arguments
from sdcl.datasets import MODALITIES
from sdcl.inference.options import EmbeddingOptions, add_weights
from sdcl.runtime.errors import DataError, SettingError
from sdcl.runtime.files import output_path, printable, write_bytes, write_text
from sdcl.runtime.program import program

if TYPE_CHECKING:
    from sdcl.inference.embeddings import Embeddings
    from sdcl.inference.trained_model import TrainedModel

CALIBRATION_HELP = """\
A gallery always has a nearest image, also for a person whom it does not show.
With a threshold, a query is said to be in the gallery when its largest cosine
similarity exceeds it. --calibrate F finds the threshold that a share F of
impostors exceeds, from the images of --reference:

  without --labelled: images, of the queries' modality and kind of camera, of
  people known NOT to be in the gallery;
  with --labelled: the first folder of each path names the person, in the
  reference and in the gallery. A person's own gallery images are left out, so
  the reference may show people of the gallery; the share of its images that
  find their person above the threshold is measured too.

At least 1 / F - 1 reference images are needed, many more for a steady
threshold, and many images of few people count as few. Calibrate again when
gallery, weights or cameras change.
"""


@program
def main(argv: Sequence[str] | None = None) -> int:
    """Run the program. Exit codes: 0 written, 2 bad input."""
    args = parser().parse_args(argv)
    _check(args)
    options = read_arguments(EmbeddingOptions, args)
    from sdcl.evaluation.rerank import Rerank
    from sdcl.inference.embeddings import refuse_mixture
    from sdcl.inference.search import calibrate_threshold, search
    from sdcl.inference.trained_model import TrainedModel
    from sdcl.reporting.search_image import search_image

    trained = TrainedModel.open(args.weights).to(options.device) if args.weights else None
    query = _embeddings(args, trained, args.query, "query")
    gallery = _embeddings(args, trained, args.gallery, "gallery")
    refuse_mixture(query, gallery)  # before the references are embedded
    threshold, calibration = args.threshold, None
    if args.calibrate is not None:
        reference = _embeddings(args, trained, args.reference, "query")
        if reference.about["modality"] != query.about["modality"]:
            raise DataError(
                f"--reference {args.reference} holds {reference.about['modality']} images, the queries are "
                f"{query.about['modality']}: a threshold counts for references of the queries' modality"
            )
        calibration = calibrate_threshold(reference, gallery, args.calibrate, labelled=args.labelled)
        threshold = calibration.threshold
        print(calibration)
    method = Rerank() if args.rerank else None
    answers = search(query, gallery, top=args.top, threshold=threshold, method=method)
    about = {
        "ranking": method.title if method else "cosine similarity",
        "threshold": threshold,
        "calibration": dataclasses.asdict(calibration) if calibration else None,
        "query": query.about,
        "gallery": gallery.about | {"images": len(gallery.paths)},
    }
    write_text(args.out, json.dumps({"about": about, "queries": answers}, indent=2) + "\n")
    counts = f"{len(query.paths)} queries, {len(gallery.paths)} gallery images"
    print(f"written: {printable(args.out)}: {counts}, ranked by {about['ranking']}")
    if args.picture:
        image = search_image(answers, query.about["root"], gallery.about["root"], about["ranking"])
        write_bytes(args.picture, image)
        print(f"written: {printable(args.picture)}")
    return 0


def parser() -> argparse.ArgumentParser:
    """The options of this program."""
    result = new_parser(
        "sdcl search", f"Search the people of some images among others.\n\n{CALIBRATION_HELP}"
    )
    add = functools.partial(result.add_argument, default=None)
    images: dict[str, Any] = {"type": Path, "metavar": "DIR_OR_FILE"}
    add("--query", required=True, help="folder of images, one image, or a file of `sdcl embed`", **images)
    add("--gallery", required=True, help="the same for the images to search among", **images)
    add_weights(result, required=False, note="; needed for folders and images")
    for side in ("query", "gallery"):
        text = f"kind of camera that took the {side} images; needed for folders and images"
        add(f"--{side}-modality", choices=MODALITIES, help=text)
    add("--top", type=int, default=10, metavar="N", help="gallery images listed for each query (default 10)")
    add("--rerank", action="store_true", help="rank by k-reciprocal re-ranking (Zhong et al., CVPR 2017)")
    text = 'cosine similarity that must be exceeded, else "not in the gallery"'
    add("--threshold", type=float, metavar="T", help=text)
    text = "find the threshold of this false-accept rate, see above"
    add("--calibrate", type=float, metavar="F", help=text)
    add("--reference", help="reference of --calibrate: images like the queries, or their file", **images)
    add("--labelled", action="store_true", help="the first folder of each path names the person, see above")
    add("--out", type=Path, required=True, metavar="FILE.json", help="results to write")
    add(
        "--picture",
        type=Path,
        metavar="FILE.png",
        help="image to write: the first 50 queries with 10 results each",
    )
    add_arguments(result, EmbeddingOptions)
    return result


def _check(args: argparse.Namespace) -> None:
    """Refuse options that do not fit together before any work is done."""
    if args.top < 1:
        raise SettingError(f"--top must be above 0, got {args.top}")
    if args.threshold is not None and not -1 <= args.threshold <= 1:
        raise SettingError(f"--threshold is a cosine similarity, between -1 and 1, got {args.threshold}")
    if args.calibrate is not None and (args.reference is None or args.threshold is not None):
        raise SettingError(
            "--calibrate finds the threshold from --reference: name one, and leave --threshold out"
        )
    if args.calibrate is None and (args.reference is not None or args.labelled):
        raise SettingError("--reference and --labelled belong to --calibrate F, such as --calibrate 0.01")
    output_path(args.out, (".json",))
    if args.picture:
        output_path(args.picture, (".png",))


def _embeddings(args: argparse.Namespace, trained: TrainedModel | None, path: Path, side: str) -> Embeddings:
    """Read a file of embeddings, or embed a folder or one image."""
    from sdcl.inference.embeddings import EMBEDDING_SUFFIXES, embed_folder, load_embeddings

    modality = getattr(args, f"{side}_modality")
    if path.suffix in EMBEDDING_SUFFIXES and not path.is_dir():
        embeddings = load_embeddings(path)
        weights, recorded = embeddings.about["weights"], embeddings.about["modality"]
        if trained and trained.fingerprint != weights:
            raise DataError(
                f"{printable(path)} was made by weights {weights}, --weights {trained.path} is "
                f"{trained.fingerprint}: embed its images again"
            )
        if modality and modality != recorded:
            raise DataError(
                f"{printable(path)} holds {recorded} images, not {modality} ones; leave --{side}-modality out"
            )
        return embeddings
    if not path.exists():
        raise DataError(
            f"there is nothing at {printable(path)}; name a folder of images, an image, or a file of `sdcl "
            "embed`"
        )
    if trained is None or modality is None:
        raise SettingError(
            f"{printable(path)} holds images: name --weights and --{side}-modality, or name a file of `sdcl "
            "embed`"
        )
    return embed_folder(trained, path, modality, **read_arguments(EmbeddingOptions, args).keywords())


if __name__ == "__main__":
    sys.exit(main())
