"""Cross-modality Rank-1 of trivial features on synthetic sets: colour, brightness, pixels, background alone.

    python benchmarks/fairness.py [--quick] [--set quick] [--work logs/fairness]

The protocols are those of the real data sets; "chance" is random features under the same protocol.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import common
import numpy as np
from PIL import Image

from sdcl.datasets import MODALITIES, open_dataset
from sdcl.evaluation import evaluate
from sdcl.synthetic.person import DIFFICULTIES
from sdcl.synthetic.plan import SIZES

ROWS, COLUMNS = 24, 12  # of a thumbnail, whose outer SIDE columns show background
SIDE = 2
SETS = (
    ("sysu", "clear"),
    ("sysu", "easy"),
    ("sysu", "medium"),
    ("sysu", "hard"),
    ("regdb", "medium"),
    ("llcm", "medium"),
)


def halves_of_clothes(image: np.ndarray) -> list[np.ndarray]:
    """Upper and lower half of the middle columns, where clothes are."""
    margin = image.shape[1] // 4
    return np.array_split(image[:, margin:-margin].astype(np.int64), 2)


def color_histogram(image: np.ndarray) -> np.ndarray:
    """8 x 8 x 8 colours of both halves; uint8 (H, W, 3) -> (1024,)."""
    cells = [(half // 32 @ (64, 8, 1)).ravel() for half in halves_of_clothes(image)]
    return np.sqrt(np.concatenate([np.bincount(cell, minlength=512) for cell in cells]))


def brightness_histogram(image: np.ndarray) -> np.ndarray:
    """32 levels of luminance of both halves; uint8 (H, W, 3) -> (64,)."""
    levels = [(half.mean(2) // 8).astype(np.int64).ravel() for half in halves_of_clothes(image)]
    return np.sqrt(np.concatenate([np.bincount(level, minlength=32) for level in levels]))


def pixels(image: np.ndarray) -> np.ndarray:
    """Luminance of a thumbnail, standardised against gain and offset of cameras; -> (ROWS * COLUMNS,)."""
    thumbnail = Image.fromarray(image).convert("L").resize((COLUMNS, ROWS), Image.Resampling.BOX)
    values = np.asarray(thumbnail, float)
    return ((values - values.mean()) / (values.std() + 1)).ravel()


def background(image: np.ndarray) -> np.ndarray:
    """The outer columns of the thumbnail."""
    values = pixels(image).reshape(ROWS, COLUMNS)
    return np.hstack((values[:, :SIDE], values[:, -SIDE:])).ravel()


FEATURES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "colour histogram": color_histogram,
    "brightness histogram": brightness_histogram,
    "pixels": pixels,
    "background": background,
}


def main() -> None:
    parser = common.arguments(__doc__)
    parser.add_argument("--set", default="quick", choices=SIZES["sysu"])
    parser.add_argument("--difficulties", nargs="+", default=DIFFICULTIES, choices=DIFFICULTIES)
    parser.add_argument("--work", type=Path, default=Path("logs/fairness"))
    args = parser.parse_args()
    size = ["--identities", "8", "--images-per-camera", "2"] if args.quick else []
    rows = []
    sets = [(la, di) for la, di in SETS if args.set in SIZES[la] and di in args.difficulties]
    for layout, difficulty in sets[:1] if args.quick else sets:
        folder = args.work / f"{layout}_{args.set}_{difficulty}"
        flags = [
            "--layout",
            layout,
            "--set",
            args.set,
            "--difficulty",
            difficulty,
            "--seed",
            args.seed,
            *size,
        ]
        common.sdcl("synthesize", *flags, "--out", folder, "--jobs", args.threads)
        rows += [(f"{layout}, {difficulty}", *row) for row in rank_ones(layout, folder, args.seed)]
    common.table(("layout, difficulty", "protocol", "chance", *FEATURES), rows)


def rank_ones(layout: str, folder: Path, seed: int) -> list[tuple[str, ...]]:
    """Each protocol's name with the Rank-1 in percent of random features and of each trivial one."""
    dataset = open_dataset(layout, folder, allow_incomplete=True)
    protocols = dataset.protocols()
    images = {m: [np.asarray(Image.open(s.path).convert("RGB")) for s in dataset.test[m]] for m in MODALITIES}
    rng = np.random.default_rng(seed)
    features = [{m: rng.standard_normal((len(split), 64)) for m, split in images.items()}]
    for feature in FEATURES.values():
        features.append({m: [feature(image) for image in split] for m, split in images.items()})
    columns = []
    for by_modality in features:
        rows = {m: unit_rows(values) for m, values in by_modality.items()}
        columns.append(evaluate(rows, dataset.test, protocols))
    names = [f"{r.protocol.partition(',')[0]}, {r.direction}" for r in columns[0]]
    return [(name, *(f"{100 * r.metrics.r1:.1f}" for r in row)) for name, *row in zip(names, *columns)]


def unit_rows(rows: object) -> np.ndarray:
    array = np.asarray(rows, np.float32)
    return array / np.maximum(np.linalg.norm(array, axis=1, keepdims=True), 1e-12)


if __name__ == "__main__":
    main()
