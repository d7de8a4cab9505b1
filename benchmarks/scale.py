"""Rehearsal of an epoch at growing numbers of images, phase by phase, and what follows for a million and ten.

    OMP_NUM_THREADS=1 python benchmarks/scale.py --threads 1 --sizes 10000 30000 100000
    python benchmarks/scale.py --quick

A training set of N images, two thirds of them visible, is drawn as features with clusters of 56 images; each
phase calls the functions that training calls, in a process of its own. Times are seconds of the CPU
(`time.process_time`, all threads), so that other programs on the machine disturb them less than the clock.
Finished measurements are kept in --work: a stopped run goes on where it was. Writes docs/scaling_table.md.

Legend: N images, Nv of them visible and Nr infrared, D dimensions, C clusters.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import common
import numpy as np
import torch
import torch.nn.functional as F
from clustering import EPS, K1, K2, MIN_SAMPLES, synthetic_features
from input import write_images
from torch.utils.flop_counter import FlopCounterMode

from sdcl.association import collaborative_ranking, majority_of_neighbors, propagate_labels
from sdcl.clustering import jaccard, neighbors
from sdcl.clustering.density import dbscan_of_pairs
from sdcl.clustering.modality_aware import modality_aware_pairs
from sdcl.config.groups import MemorySettings
from sdcl.data.image_cache import ImageCache, build_cache
from sdcl.data.sampler import epoch_batches
from sdcl.datasets.base import Draw, Protocol
from sdcl.datasets.sample import MODALITIES, Sample
from sdcl.evaluation.protocols import evaluate
from sdcl.inference.extract import extract_features
from sdcl.methods.interface import Batch
from sdcl.methods.parts import ClusterContrast, NeighborLearning
from sdcl.methods.sdcl import SDCLSettings, neighbor_pairs
from sdcl.models.factory import build_model
from sdcl.runtime import checkpoint
from sdcl.runtime.files import atomic
from sdcl.training.epoch_journal import EpochJournal

REMEDY = "free space or choose another --work, then run again"
PAGE = Path(__file__).parents[1] / "docs" / "scaling_table.md"
TARGETS = (1_000_000, 10_000_000)
WARM = 600  # images of a case whose phases are run first, to load compiled code
SAMPLE = 500  # images that are really decoded and embedded
SIZE = (288, 144)  # of decoded images
EMBEDDED = (96, 48)  # of the images of the small model
BATCH, INSTANCES, STEPS = 128, 16, 200  # images of a modality in a batch, of a cluster in it; steps an epoch
VISIBLE = 2 / 3  # of the images, as in SYSU-MM01
IMAGES_OF_A_CLUSTER = 56
GPU, GPU_RATE, GPUS, REACHED = (
    "NVIDIA A100",
    19.5e12,
    8,
    0.5,
)  # float32 outside of tensor cores, by its data sheet


@dataclass(frozen=True)
class Case:
    """A size, and the folder of what its phases hand to one another."""

    folder: Path
    images: int
    dimensions: int
    seed: int

    @property
    def sizes(self) -> dict[str, int]:
        visible = round(VISIBLE * self.images)
        return {"visible": visible, "infrared": self.images - visible}

    @property
    def sample(self) -> int:
        return min(SAMPLE, self.images)

    def save(self, name: str, value: Any) -> None:
        with atomic(self.folder / f"{name}.pt", REMEDY) as part:
            torch.save(value, part)

    def load(self, name: str) -> Any:
        return torch.load(self.folder / f"{name}.pt", weights_only=False)  # written by this program

    def features(self) -> dict[str, dict[str, torch.Tensor]]:
        """modality -> branch -> unit rows."""
        return self.load("features")

    def deep(self) -> dict[str, torch.Tensor]:
        return {m: branches["deep"] for m, branches in self.features().items()}


def draw_features(case: Case) -> None:
    """Both branches of all images: the same clusters in both modalities, which a constant separates."""
    generator = torch.Generator().manual_seed(case.seed + 1)
    rows = synthetic_features(case.images, case.dimensions, case.seed)
    gap = 0.3 * F.normalize(torch.randn(1, case.dimensions, generator=generator))
    features = {}
    for m, deep in zip(MODALITIES, rows.split(list(case.sizes.values())), strict=True):
        deep = F.normalize(deep + gap) if m == "infrared" else deep
        noise = torch.randn(deep.shape, generator=generator) / math.sqrt(case.dimensions)
        features[m] = {"deep": deep.clone(), "shallow": F.normalize(deep + 0.3 * noise)}
    case.save("features", features)


# ------------------------------------------------------------------ phases: inputs, then what is measured


class Measured(NamedTuple):
    """What is timed, and the name under which later phases load its result."""

    work: Callable[[], Any]
    result: str = ""


def decode(case: Case) -> Measured:
    folder = case.folder / "files"
    folder.mkdir(exist_ok=True)
    paths, number = write_images(folder, case.sample, case.seed), time.time_ns()
    return Measured(lambda: build_cache(paths, *SIZE, "bilinear", folder / f"cache{number}", 1, "images"))


def embed(case: Case) -> Measured:
    torch.manual_seed(case.seed)
    height, width = EMBEDDED
    model = build_model("vit_mini", height=height, width=width)
    pixels = np.random.default_rng(case.seed).integers(0, 256, (case.sample, height, width, 3), np.uint8)
    images = ImageCache(pixels, torch.device("cpu"))
    return Measured(
        lambda: extract_features(model, images, "visible", batch_size=64, bf16=False, title="sample")
    )


def search(case: Case) -> Measured:
    rows = case.deep()
    return Measured(lambda: {m: neighbors.rank_lists(f, K1) for m, f in rows.items()}, "ranks")


def sets(case: Case) -> Measured:
    ranks = case.load("ranks")
    return Measured(lambda: {m: jaccard.reciprocal_sets(r, K1) for m, r in ranks.items()}, "sets")


def weights(case: Case) -> Measured:
    rows, members = case.deep(), case.load("sets")
    return Measured(lambda: {m: jaccard.neighbor_weights(rows[m], *s) for m, s in members.items()}, "weights")


def expansion(case: Case) -> Measured:
    matrices, ranks = case.load("weights"), case.load("ranks")
    return Measured(
        lambda: {m: jaccard.query_expansion(w, ranks[m][:, :K2]) for m, w in matrices.items()}, "expanded"
    )


def min_sum(case: Case) -> Measured:
    matrices = case.load("expanded")
    return Measured(lambda: {m: jaccard.pair_distances(w, EPS) for m, w in matrices.items()}, "pairs")


def density(case: Case) -> Measured:
    pairs = case.load("pairs")

    def work() -> dict[str, np.ndarray]:
        return {
            m: dbscan_of_pairs(case.sizes[m], p.first, p.second, MIN_SAMPLES).ids for m, p in pairs.items()
        }

    return Measured(work, "labels")


def cra(case: Case) -> Measured:
    features, labels = case.features(), case.load("labels")["infrared"]
    work = lambda: collaborative_ranking(features["visible"], features["infrared"], labels)  # noqa: E731
    return Measured(work, "associated")


def smoothing(case: Case) -> Measured:
    features, labels = case.features()["visible"], case.load("associated")
    return Measured(lambda: majority_of_neighbors(labels, features))


def cmlu(case: Case) -> Measured:
    rows, labels = case.deep(), case.load("labels")["infrared"]
    return Measured(lambda: propagate_labels(rows["visible"], rows["infrared"], labels))


def modality_aware(case: Case) -> Measured:
    rows = case.deep()
    return Measured(lambda: modality_aware_pairs(rows["visible"], rows["infrared"], K1, K2, EPS))


def batches(case: Case) -> Measured:
    labels = case.load("labels")
    generator = np.random.default_rng(case.seed)
    cameras = {m: generator.integers(0, 4, n) for m, n in case.sizes.items()}
    sizes = {"batch_size": BATCH, "num_instances": INSTANCES, "iterations": STEPS}

    def work() -> dict[str, np.ndarray]:
        return {m: epoch_batches(labels[m], cameras[m], **sizes, seed=(case.seed, 0)) for m in MODALITIES}

    return Measured(work, "batches")


def memories(case: Case) -> Measured:
    features, labels = case.features(), case.load("labels")

    def work() -> tuple:
        sources = {m: (features[m], labels[m]) for m in MODALITIES}
        return ClusterContrast(sources, MemorySettings(), first=False), neighbor_learning(features)

    return Measured(work)


def neighbor_learning(features: dict[str, dict[str, torch.Tensor]]) -> NeighborLearning:
    """CNL within both modalities and across them in one direction, with the recipe's settings."""
    settings, memory = SDCLSettings(), MemorySettings()
    return NeighborLearning(
        features,
        neighbor_pairs(settings, settings.cross_from, unified=False),
        {"deep": 1.0, "shallow": settings.cnl_shallow_weight},
        threshold=settings.cnl_threshold,
        temp=memory.temp,
        momentum=settings.instance_momentum,
        raw_update=settings.raw_instance_update,
        late_gradients=memory.late_gradients,
    )


def cnl_step(case: Case) -> Measured:
    features, labels, drawn = case.features(), case.load("labels"), case.load("batches")
    learning = neighbor_learning(features)
    rows = {m: drawn[m][0] for m in MODALITIES}
    batch = Batch({m: labels[m][r] for m, r in rows.items()}, rows, {m: slice(0, BATCH) for m in MODALITIES})
    live = {m: {b: f[rows[m]] for b, f in branches.items()} for m, branches in features.items()}

    def work() -> None:
        leaves = {m: {b: f.clone().requires_grad_() for b, f in live[m].items()} for m in MODALITIES}
        sum(learning(leaves, live, batch).values()).backward()

    return Measured(work)


def save_state(case: Case) -> Measured:
    journal = EpochJournal([case.features(), case.load("labels")])
    return Measured(
        lambda: checkpoint.save(case.folder, checkpoint.UNFINISHED, {"journal": journal.state({})})
    )


def ranking(case: Case) -> Measured:
    counts = {"visible": max(2, case.images // 5), "infrared": max(1, case.images // 10)}
    rows, identities = case.deep(), max(1, case.images // IMAGES_OF_A_CLUSTER)
    rows = {m: rows[m][:n] for m, n in counts.items()}
    test = {m: [Sample(f"{i}.jpg", i % identities, 0, m) for i in range(n)] for m, n in counts.items()}
    draw = Draw(*(np.arange(counts[m]) for m in ("infrared", "visible")))
    protocol = Protocol(
        "drawn",
        "infrared to visible",
        query="infrared",
        gallery="visible",
        removed=None,
        distinct_identities=False,
        draws=(draw,),
        note="",
    )
    return Measured(lambda: evaluate(rows, test, [protocol]))


@dataclass(frozen=True)
class Phase:
    """A phase of an epoch.

    Args:
        name: in the tables. prepare: makes what is measured.
        order: of growth, as its arithmetic says: seconds ~ N^order.
        products: multiplications and additions of its matrix products, of N and D; 0: none to speak of.
        shared: several processes share it; otherwise process 0 does it alone, or each does it.
        sampled: SAMPLE images are measured, and the time of all follows from them.
    """

    name: str
    prepare: Callable[[Case], Measured]
    order: int
    products: Callable[[float, float], float] = lambda n, d: 0.0
    shared: bool = False
    sampled: bool = False


V, R = VISIBLE, 1 - VISIBLE
PHASES = (
    Phase("decode", decode, 1, sampled=True),
    Phase("embed", embed, 1, shared=True, sampled=True),
    Phase("search", search, 2, products=lambda n, d: (V * V + R * R) * n * n * d, shared=True),
    Phase("sets", sets, 1),
    Phase("weights", weights, 1),
    Phase("expansion", expansion, 1),
    Phase("min-sum", min_sum, 1),
    Phase("DBSCAN", density, 1),
    Phase("CRA", cra, 2, products=lambda n, d: 4 * V * R * n * n * d, shared=True),
    Phase(
        "smoothing after CRA",
        smoothing,
        2,
        products=lambda n, d: 4 * V * V * n * n * d,
        shared=True,
    ),
    Phase("CMLU", cmlu, 2, products=lambda n, d: 2 * V * R * n * n * d, shared=True),
    Phase("modality-aware distance", modality_aware, 2, products=lambda n, d: n * n * d, shared=True),
    Phase("batches", batches, 1),
    Phase("memories", memories, 1),
    Phase("CNL, a step", cnl_step, 1),
    Phase("checkpoint in an epoch", save_state, 1),
    Phase(
        "ranking of N/10 x N/5",
        ranking,
        2,
        products=lambda n, d: 2 * n * n / 50 * d,
    ),
)


# ------------------------------------------------------------------ measuring


def measure(phase: str, case: Case, warm: Case | None) -> dict[str, float]:
    """CPU seconds, seconds of the clock and growth of peak memory of one phase.
    Runs in a process of its own.
    """
    chosen = next(p for p in PHASES if p.name == phase)
    if warm:
        chosen.prepare(warm).work()
    work, result = chosen.prepare(case)
    memory, clock, cpu = common.peak_memory(), time.perf_counter(), time.process_time()
    value = work()
    cpu, clock = time.process_time() - cpu, time.perf_counter() - clock
    memory = common.peak_memory() - memory
    if result:
        case.save(result, value)
    scale = case.images / case.sample if chosen.sampled else 1
    return {"cpu": cpu * scale, "clock": clock * scale, "bytes": memory}


def in_its_own_process(phase: str, case: Case, warm: Case | None, threads: int) -> dict[str, float]:
    return common.in_child(measure, [], phase, case, warm, threads=threads)[0]


def measurements(args) -> Iterator[dict[str, dict[str, dict[str, float]]]]:
    """size -> phase -> measurement, as far as they are made, after each one; kept in --work."""
    file = args.work / "measurements.json"
    conditions = {"dimensions": args.dimensions, "threads": args.threads, "seed": args.seed}
    kept = json.loads(file.read_text()) if file.exists() else {"conditions": conditions, "sizes": {}}
    if kept["conditions"] != conditions:
        raise SystemExit(
            f"{file} was measured with {kept['conditions']}, now {conditions}; choose another --work"
        )
    warm = None
    for images in (min(WARM, *args.sizes), *args.sizes):
        case = Case(args.work / str(images), images, args.dimensions, args.seed)
        case.folder.mkdir(parents=True, exist_ok=True)
        done = kept["sizes"].setdefault(str(images), {})
        if not (case.folder / "features.pt").exists():
            draw_features(case)
        for phase in PHASES:
            if phase.name in done:
                continue
            # a quick run starts no processes: they would take most of its time
            done[phase.name] = (
                measure(phase.name, case, warm)
                if args.quick
                else in_its_own_process(phase.name, case, warm, args.threads)
            )
            with atomic(file, REMEDY) as part:
                Path(part).write_text(json.dumps(kept, indent=1))
            print(f"{images:,} {phase.name}: {common.seconds(done[phase.name]['cpu'])}", flush=True)
        warm = warm or case
        if images in args.sizes:
            yield {size: phases for size, phases in kept["sizes"].items() if int(size) in args.sizes}


# ------------------------------------------------------------------ growth


def exponent(sizes: list[int], values: list[float]) -> float | None:
    """b of the power law a N^b with the least squared error of the logarithms; None below two sizes."""
    if len(sizes) < 2 or min(values) <= 0:
        return None
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def extrapolated(size: int, value: float, target: int, *exponents: float | None) -> tuple[float, float]:
    """The smallest and the largest value at `target` by growth with each of the exponents from `size` on."""
    ends = [value * (target / size) ** b for b in exponents if b is not None]
    return min(ends), max(ends)


def duration(value: float) -> str:
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if value >= 2 * length:
            return f"{value / length:.2g} {unit}" if value < 100 * length else f"{value / length:,.0f} {unit}"
    return common.seconds(value)


def between(low: float, high: float) -> str:
    """A range, or one number where its ends differ by less than a fifth."""
    return duration(high) if high < 1.2 * low else f"{duration(low)} to {duration(high)}"


def gibibytes(value: float) -> str:
    return f"{value / 2**30:,.1f} GiB" if value < 2**40 else f"{value / 2**40:,.1f} TiB"


def image_work() -> float:
    """Multiplications and additions of a ViT-B at 288 x 144 on an image and its flip."""
    model = build_model("vit_base", height=SIZE[0], width=SIZE[1]).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model({"visible": torch.zeros(2, 3, *SIZE)})
    return counter.get_total_flops()


# ------------------------------------------------------------------ page


def markdown(header: tuple, rows: list[tuple]) -> list[str]:
    lines = [header, tuple("---" for _ in header), *rows]
    return ["| " + " | ".join(map(str, line)) + " |" for line in lines] + [""]


def to_markdown(kept: dict[str, dict[str, dict[str, float]]], args, work_of_an_image: float) -> str:
    """The page, from the measurements that are finished."""
    sizes, d = sorted(map(int, kept)), args.dimensions
    times, memory, far, gpu = [], [], [], []
    for phase in PHASES:
        cells = {n: kept[str(n)][phase.name] for n in sizes if phase.name in kept[str(n)]}
        if not cells:
            continue
        seconds, grown = ({n: c[key] for n, c in cells.items()} for key in ("cpu", "bytes"))
        largest = max(cells)
        fitted = None if phase.sampled else exponent(list(cells), list(seconds.values()))
        shown = "" if phase.sampled else "–" if fitted is None else f"{fitted:.2f}"
        measured = (duration(seconds[n]) if n in cells else "–" for n in sizes)
        times.append((phase.name, *measured, shown, phase.order))
        if not phase.sampled:
            most = [grown[largest] * n / largest for n in TARGETS]
            measured = (common.mebibytes(grown[n]) if n in cells else "–" for n in sizes)
            memory.append((phase.name, *measured, *map(gibibytes, most)))
        ends = (extrapolated(largest, seconds[largest], n, phase.order, fitted) for n in TARGETS)
        far.append((phase.name, *(between(*pair) for pair in ends)))
        products = (lambda n, _: n * work_of_an_image) if phase.name == "embed" else phase.products
        if products(1, d):
            cards = GPUS if phase.shared else 1
            least = [products(n, d) / (REACHED * GPU_RATE * cards) for n in TARGETS]
            gpu.append((phase.name, cards, *map(duration, least)))
    names = [f"{n:,}" for n in sizes]
    targets = [f"{n:,}" for n in TARGETS]
    return "\n".join([
        "# Scaling: table",
        "",
        "Written by `benchmarks/scale.py`; what follows from it is in [scaling](scaling.md).",
        "",
        f"N training images, two thirds visible, {d} dimensions a branch, clusters of {IMAGES_OF_A_CLUSTER}; "
        f"features are drawn, not learnt. k1 {K1}, k2 {K2}, eps {EPS}. {args.threads} thread(s), torch "
        f"{torch.__version__}, no GPU.",
        "",
        "## Measured",
        "",
        "CPU seconds of the process, not of the clock: other programs ran on the machine, which slows these "
        "too, through caches and memory. One run each. Both modalities together; clustering treats each "
        "apart. The exponent is that of the power law fitted to the sizes, beside it the one that the "
        "arithmetic has; – is not measured.",
        "",
        *markdown(("phase", *names, "fitted exponent", "by arithmetic"), times),
        f"- Decoding (to {SIZE[0]} x {SIZE[1]}) and embedding (`vit_mini`, {EMBEDDED[0]} x {EMBEDDED[1]}, "
        f"float32, image and flip) are those of {SAMPLE} images, multiplied.",
        f"- Batches are those of {STEPS} steps with {BATCH} images of each modality, {INSTANCES} of a "
        "cluster.",
        "- Ranking has N/10 queries and N/5 gallery images; a test set need not grow with the training set.",
        "",
        "## Memory",
        "",
        "Growth of the peak beyond the inputs of the phase and loaded code. The two large sizes follow from "
        "the largest measured one, in proportion to N: no phase holds an array that grows with N^2.",
        "",
        *markdown(("phase", *names, *targets), memory),
        f"Beside it: features of both branches, {gibibytes(8 * d * TARGETS[0])} and "
        f"{gibibytes(8 * d * TARGETS[1])}; on disk each store of decoded images of {SIZE[0]} x {SIZE[1]}, "
        f"{gibibytes(3 * math.prod(SIZE) * TARGETS[0])} and {gibibytes(3 * math.prod(SIZE) * TARGETS[1])}.",
        "",
        "## One core, extrapolated",
        "",
        "From the largest size that was measured on, by the exponent of the arithmetic and by the fitted "
        "one; where they differ by a fifth or more both ends are shown. Assumes memory for all of it, "
        "clusters that stay as large, and lists as long. CPU time of one core like the one measured.",
        "",
        *markdown(("phase", *targets), far),
        f"## {GPUS} x {GPU}, by arithmetic",
        "",
        f"**Nobody has measured this.** Products alone, at {REACHED:.0%} of {GPU_RATE / 1e12} TFLOP/s "
        f"(float32, one card, data sheet); embedding is that of a ViT-B at {SIZE[0]} x {SIZE[1]}, "
        f"{work_of_an_image / 1e9:.0f} GFLOP an image with its flip, features of {d} dimensions. Choosing "
        "the nearest, copies and the network come on top; for lists they can cost more than the products.",
        "",
        *markdown(("phase", "cards that share it", *targets), gpu),
    ])  # fmt: skip


def main() -> None:
    parser = common.arguments(__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 30_000, 100_000], metavar="N")
    parser.add_argument("--dimensions", type=int, default=384, help="of each branch")
    parser.add_argument(
        "--work", type=Path, default=Path("logs/scale"), help="folder of finished measurements"
    )
    parser.add_argument("--page", type=Path, help=f"Markdown file (default: docs/{PAGE.name}; --quick: none)")
    args = parser.parse_args()
    if args.quick:
        args.sizes, args.dimensions = [300, 600], 32
    torch.set_num_threads(args.threads)
    page = args.page or (None if args.quick else PAGE)
    work = 2 * 28e9 if args.quick else image_work()
    text = ""
    for kept in measurements(args):
        text = to_markdown(kept, args, work)
        if page:
            page.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
