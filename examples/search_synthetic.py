"""Who on these images is on the visible ones of another camera, and who is not there at all? From images to answers, on synthetic people.

    python examples/search_synthetic.py
    python examples/search_synthetic.py --weights logs/examples/ablation/whole_1     # a run folder instead of the starting weight

`examples/search.sh` is the same for one's own images, by commands. Here people are known, so the answers can be counted.
"""

import argparse
from dataclasses import replace
from itertools import compress
from pathlib import Path

import numpy as np
from synthetic_people import SIZE, draw_people, starting_model

from sdcl.cli.embed import Weights, embed_folder, open_weights, weights_fingerprint
from sdcl.cli.search import calibrate, rank
from sdcl.config import parse

flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
flags.add_argument(
    "--weights", type=Path, help="run folder or checkpoint (default: the weight that comes with the package, not trained on these)"
)
flags.add_argument("--rate", type=float, default=0.05, help="share of strangers that may be said to be in the gallery")
flags.add_argument("--identities", type=int, default=60, help="people to draw; 0.4 times as many others come with them")
flags.add_argument("--data-dir", type=Path, default=Path("logs/examples"), help="where people are drawn, if they are not there yet")
own = flags.parse_args()

stores, _, _ = draw_people(own)
people = own.data_dir / f"people_{own.identities}"
if own.weights:
    weights = open_weights(own.weights)
else:
    settings, _, _ = parse(["-a", "vit_mini", "--height", str(SIZE[0]), "--width", str(SIZE[1])], "", "")
    model = starting_model(stores, ("deep", "shallow"), seed=1).eval()
    weights = Weights(model, settings, weights_fingerprint(model), Path("starting weight"), {})

# Camera 1 sees about half of the people, cameras 3 and 4 nearly all: unit rows (N, D), and a path PERSON/NUMBER.jpg for each
gallery = embed_folder(weights, people / "cam1", "visible", device="cpu")
there = {path.split("/")[0] for path in gallery.paths}
print(f"gallery: {len(gallery.paths)} visible images of {len(there)} people")
for camera, modality in (("cam4", "visible"), ("cam3", "infrared")):
    found = embed_folder(weights, people / camera, modality, device="cpu")
    person = np.array([path.split("/")[0] for path in found.paths])

    # Every other stranger is asked beforehand: the threshold is what at most `rate` of their images reach. All else are queries.
    asked = np.isin(person, sorted(set(person) - there)[::2])
    reference, query = (replace(found, rows=found.rows[k], paths=list(compress(found.paths, k))) for k in (asked, ~asked))
    threshold = calibrate(reference, gallery, own.rate, labelled=False)["threshold"]
    print(f"\n{modality} queries: threshold {threshold:.3f}, from {len(reference.paths)} images of strangers")

    answers = rank(query, gallery, top=3, threshold=threshold, how=None)  # how=Rerank() re-ranks by k-reciprocal neighbours
    for answer in answers[:: max(1, len(answers) // 6)]:
        best = ", ".join(f"{hit['path']} {hit['similarity']:.2f}" for hit in answer["results"])
        print(f"  {answer['query']}: {best if answer['in_gallery'] else 'not in the gallery'}")

    known = np.isin(person[~asked], list(there))
    said = np.array([answer["in_gallery"] for answer in answers])
    first = np.array([answer["results"][0]["path"].split("/")[0] for answer in answers]) == person[~asked]
    print(
        f"{known.sum()} images of people in the gallery: right at rank 1 {first[known].mean():.1%}, said to be there {said[known].mean():.1%}"
    )
    print(f"{(~known).sum()} images of other strangers: said to be there {said[~known].mean():.1%}, wanted at most about {own.rate:.0%}")
