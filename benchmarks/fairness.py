"""Whether something simpler than looking at people solves the synthetic benchmark: trivial features by the real protocols, against chance.

    python benchmarks/fairness.py [--quick] [--set quick] [--work logs/fairness]

Cross-modality Rank-1 of colour, of brightness, of pixels and of the background alone. "Chance" is the same protocol on random features.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import common
import numpy as np
from PIL import Image

from sdcl.datasets import open_dataset
from sdcl.datasets.sample import MODALITIES
from sdcl.evaluation import evaluate

ROWS, COLUMNS = 24, 12  # of a thumbnail; its outer SIDE columns show background
SIDE = 2
SETS = (("sysu", "easy"), ("sysu", "medium"), ("sysu", "hard"), ("regdb", "medium"), ("llcm", "medium"))


def color_histogram(image: np.ndarray) -> np.ndarray:
    """8 x 8 x 8 colours of the middle of the image, where clothes are, upper and lower half apart; (H, W, 3) uint8 -> (1024,)."""
    middle = image[:, image.shape[1] // 4 : -(image.shape[1] // 4)] // 32
    halves = np.array_split(middle.astype(np.int64), 2)
    return np.sqrt(np.concatenate([np.bincount((h @ (64, 8, 1)).ravel(), minlength=512) for h in halves]))


def brightness_histogram(image: np.ndarray) -> np.ndarray:
    """32 levels of luminance of the same halves; (H, W, 3) uint8 -> (64,)."""
    middle = image[:, image.shape[1] // 4 : -(image.shape[1] // 4)].mean(2)
    return np.sqrt(
        np.concatenate(
            [np.bincount((h // 8).astype(np.int64).ravel(), minlength=32) for h in np.array_split(middle, 2)]
        )
    )


def pixels(image: np.ndarray) -> np.ndarray:
    """Luminance of a thumbnail, standardised, so that gain and offset of a camera do not count; -> (ROWS * COLUMNS,)."""
    small = np.asarray(
        Image.fromarray(image).convert("L").resize((COLUMNS, ROWS), Image.Resampling.BOX), float
    )
    return ((small - small.mean()) / (small.std() + 1)).ravel()


def background(image: np.ndarray) -> np.ndarray:
    """The outer columns of the thumbnail only."""
    small = pixels(image).reshape(ROWS, COLUMNS)
    return np.hstack((small[:, :SIDE], small[:, -SIDE:])).ravel()


FEATURES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "colour histogram": color_histogram,
    "brightness histogram": brightness_histogram,
    "pixels": pixels,
    "background": background,
}


def main() -> None:
    parser = common.arguments(__doc__)
    parser.add_argument("--set", default="quick", choices=("quick", "medium", "sysu"))
    parser.add_argument("--work", type=Path, default=Path("logs/fairness"))
    args = parser.parse_args()
    size = ["--identities", "8", "--images-per-camera", "2"] if args.quick else []
    rows = []
    for layout, difficulty in SETS[:1] if args.quick else SETS:
        folder = args.work / f"{layout}_{args.set}_{difficulty}"
        made = [
            "--layout",
            layout,
            "--set",
            args.set,
            "--difficulty",
            difficulty,
            "--seed",
            str(args.seed),
            "--out",
            str(folder),
        ]
        subprocess.run(
            [sys.executable, "-m", "sdcl.synthetic.dataset", *made, *size, "--jobs", str(args.threads)],
            check=True,
        )
        rows += [(f"{layout}, {difficulty}", *row) for row in rank_ones(layout, folder, args.seed)]
    common.table(("layout, difficulty", "protocol", "chance", *FEATURES), rows)


def rank_ones(layout: str, folder: Path, seed: int) -> list[tuple[str, ...]]:
    """A row for each protocol: its name, then Rank-1 in percent of random features and of each trivial one."""
    dataset = open_dataset(layout, folder, allow_incomplete=True)
    samples, protocols = dataset.test, dataset.protocols()
    images = {m: [np.asarray(Image.open(s.path).convert("RGB")) for s in samples[m]] for m in MODALITIES}
    random = np.random.default_rng(seed)
    columns = [
        evaluate(
            {m: unit_rows(random.standard_normal((len(x), 64))) for m, x in images.items()},
            samples,
            protocols,
        )
    ]
    for feature in FEATURES.values():
        columns.append(
            evaluate({m: unit_rows([feature(i) for i in x]) for m, x in images.items()}, samples, protocols)
        )
    names = [f"{r.protocol.partition(',')[0]}, {r.direction}" for r in columns[0]]
    return [(name, *(f"{100 * r.metrics.cmc[0]:.1f}" for r in row)) for name, *row in zip(names, *columns)]


def unit_rows(rows: object) -> np.ndarray:
    array = np.asarray(rows, np.float32)
    return array / np.maximum(np.linalg.norm(array, axis=1, keepdims=True), 1e-12)


if __name__ == "__main__":
    main()
