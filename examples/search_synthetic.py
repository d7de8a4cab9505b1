"""Open-set search on synthetic images: which person of a gallery is on a query image, or none of them?

    python examples/search_synthetic.py
    python examples/search_synthetic.py --weights logs/examples/ablation/whole_1     # a trained run

`examples/search.sh` does the same for your own images. Here identities are known, so answers can be counted.
"""

import argparse
from dataclasses import replace
from itertools import compress
from pathlib import Path

import numpy as np
from synthetic_setup import SIZE, open_images, pretrained_model

from sdcl import Embeddings, TrainedModel, config, embed_folder
from sdcl.inference.search import calibrate_threshold, search

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
add = parser.add_argument
add("--weights", type=Path, help="run folder or checkpoint (default: the pretrained weights of the package)")
add("--rate", type=float, default=0.05, help="accepted share of queries whose person is not in the gallery")
add(
    "--identities", type=int, default=60, help="identities to render; 0.4 times as many others come with them"
)
add("--data-dir", type=Path, default=Path("logs/examples"), help="folder of the rendered images")
args = parser.parse_args()


def select(embeddings: Embeddings, mask: np.ndarray) -> Embeddings:
    """The embeddings where mask, bool (N,), is true."""
    return replace(embeddings, rows=embeddings.rows[mask], paths=list(compress(embeddings.paths, mask)))


def identities_of(paths: list[str]) -> np.ndarray:
    """The folder IDENTITY of paths IDENTITY/NUMBER.jpg."""
    return np.array([path.split("/")[0] for path in paths])


images = open_images(args)
folder = args.data_dir / f"identities_{args.identities}"
if args.weights:
    trained = TrainedModel.open(args.weights)
else:
    flags = ["--data-dir", str(folder), "-a", "vit_mini", "--height", str(SIZE[0]), "--width", str(SIZE[1])]
    settings, _, _ = config.parse(flags, "search_synthetic.py", "")
    trained = TrainedModel(pretrained_model(images, ("deep", "shallow"), seed=1), settings)

# Camera 1 sees about half of the identities, cameras 3 (infrared) and 4 nearly all.
gallery = embed_folder(trained, folder / "cam1", "visible")  # unit rows (N, D) and their paths
known = sorted(set(identities_of(gallery.paths)))
print(f"gallery: {len(gallery.paths)} visible images of {len(known)} identities")
for camera, modality in (("cam4", "visible"), ("cam3", "infrared")):
    embeddings = embed_folder(trained, folder / camera, modality)
    identities = identities_of(embeddings.paths)

    # Half of the unknown identities calibrate the threshold, which `rate` of their images exceed; all other
    # images are queries.
    unknown = sorted(set(identities) - set(known))
    is_reference = np.isin(identities, unknown[::2])
    reference, query = select(embeddings, is_reference), select(embeddings, ~is_reference)
    threshold = calibrate_threshold(reference, gallery, args.rate).threshold
    print(f"\n{modality} queries: threshold {threshold:.3f} from {len(reference.paths)} unknown images")

    answers = search(query, gallery, top=3, threshold=threshold)
    for answer in answers[:: max(1, len(answers) // 6)]:
        best = ", ".join(f"{hit['path']} {hit['similarity']:.2f}" for hit in answer["results"])
        print(f"  {answer['query']}: {best if answer['in_gallery'] else 'not in the gallery'}")

    identities = identities[~is_reference]
    is_known = np.isin(identities, known)
    accepted = np.array([answer["in_gallery"] for answer in answers])
    correct = identities_of([answer["results"][0]["path"] for answer in answers]) == identities
    rank1, true_accepts = correct[is_known].mean(), accepted[is_known].mean()
    print(f"known: {is_known.sum()} images, Rank-1 {rank1:.1%}, accepted {true_accepts:.1%}")
    false_accepts = accepted[~is_known].mean()
    print(f"unknown: {(~is_known).sum()} images, accepted {false_accepts:.1%}, wanted {args.rate:.0%}")
