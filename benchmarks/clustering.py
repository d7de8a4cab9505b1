"""Pseudo-labels: the usual dense form against the sparse form of this package, phase by phase.

    python benchmarks/clustering.py [--quick] [--full] [--scaling 5000 22258] [--without-search 1000000]

The dense form follows the definition (N x N float32 weights, a Python loop over the rows) and takes the rank
lists of the sparse one, so that the labels must agree. It runs at --dense-images, or at --images with --full.
"""

from __future__ import annotations

import importlib.util
from functools import partial

import common
import numpy as np
import torch
import torch.nn.functional as F
from sklearn.cluster import DBSCAN

from sdcl.clustering import jaccard, neighbors, pseudo_labels
from sdcl.clustering.density import dbscan_of_pairs

K1, K2, EPS, MIN_SAMPLES = 30, 6, 0.6, 4


def synthetic_features(images: int, dimensions: int, seed: int, device: str = "cpu") -> torch.Tensor:
    """Unit rows (N, D) in random order around one centre per 56 images (SYSU-MM01: 22,258 of 395 identities).

    Variation lies in 48 dimensions, so that neighbours of a neighbour are neighbours, as in a trained
    network.
    """
    generator = torch.Generator().manual_seed(seed)
    inner = min(48, dimensions)
    centres = torch.randn(max(2, images // 56), inner, generator=generator)
    points = centres[torch.randint(len(centres), (images,), generator=generator)]
    points = points + 0.9 * torch.randn(images, inner, generator=generator)
    basis = torch.linalg.qr(torch.randn(dimensions, inner, generator=generator))[0].T  # (inner, D)
    noise = torch.randn(images, dimensions, generator=generator)
    return F.normalize(torch.addmm(noise, points, basis, beta=0.02)).to(device)


def dense_labels(ranks: np.ndarray, features: np.ndarray) -> tuple[np.ndarray, dict[str, float]]:
    """Dense weights row by row, and DBSCAN on a dense matrix. -> (labels (N,), seconds by phase)"""
    times = {}
    weights, times["sets and weights"] = common.timed(lambda: _dense_weights(ranks, features))
    weights, times["query expansion"] = common.timed(lambda: _dense_expansion(weights, ranks))
    distance, times["min-sum"] = common.timed(lambda: _dense_distance(weights))
    method = DBSCAN(eps=EPS, min_samples=MIN_SAMPLES, metric="precomputed")
    found, times["DBSCAN"] = common.timed(lambda: method.fit(distance).labels_)
    return found, times


def _reciprocal(ranks: np.ndarray, row: int, length: int) -> np.ndarray:
    forward = ranks[row, :length]
    return forward[(ranks[forward, :length] == row).any(1)]


def _dense_weights(ranks: np.ndarray, features: np.ndarray) -> np.ndarray:
    count = len(ranks)
    half = round(K1 / 2) + 1
    weights = np.zeros((count, count), np.float32)
    halves = [_reciprocal(ranks, row, half) for row in range(count)]
    for row in range(count):
        reciprocal = _reciprocal(ranks, row, K1)
        members = reciprocal
        for candidate in reciprocal:
            if 3 * len(np.intersect1d(halves[candidate], reciprocal)) > 2 * len(halves[candidate]):
                members = np.append(members, halves[candidate])
        members = np.unique(members)
        similar = np.exp(-(2 - 2 * features[members] @ features[row]))
        weights[row, members] = similar / similar.sum()
    return weights


def _dense_expansion(weights: np.ndarray, ranks: np.ndarray) -> np.ndarray:
    expanded = np.zeros_like(weights)
    for row in range(len(ranks)):
        expanded[row] = weights[ranks[row, :K2]].mean(0)
    return expanded


def _dense_distance(weights: np.ndarray) -> np.ndarray:
    count = len(weights)
    holders = [np.flatnonzero(weights[:, column]) for column in range(count)]
    distance = np.zeros_like(weights)
    for row in range(count):
        shared = np.zeros(count, np.float32)
        for column in np.flatnonzero(weights[row]):
            others = holders[column]
            shared[others] += np.minimum(weights[row, column], weights[others, column])
        distance[row] = 1 - shared / (2 - shared)
    return np.maximum(distance, 0)


def sparse_labels(features: np.ndarray, device: str, backend: str, group: int = 0) -> dict[str, object]:
    """The phases of `pseudo_labels`. -> labels, rank lists, seconds by phase, and counts for the lower bound.

    With `group`, neighbours are searched within groups of that many images, to time the other phases.
    """
    rows = torch.from_numpy(features).to(device)
    times: dict[str, float] = {}
    phase = partial(_phase, times)
    parts = rows.split(group or len(rows))
    search = partial(neighbors.rank_lists, k=K1, backend=backend)
    ranks = phase(
        "nearest neighbours",
        lambda: torch.cat([search(part) + n * len(parts[0]) for n, part in enumerate(parts)]),
    )
    members = phase("sets", lambda: jaccard.reciprocal_sets(ranks, K1))
    weights = phase("weights", lambda: jaccard.neighbor_weights(rows, *members))
    expanded = phase("query expansion", lambda: jaccard.query_expansion(weights, ranks[:, :K2]))
    pairs = phase("min-sum", lambda: jaccard.pair_distances(expanded, EPS))
    found = phase("DBSCAN", lambda: dbscan_of_pairs(len(rows), pairs.first, pairs.second, MIN_SAMPLES))
    holders = expanded.columns.bincount().double()
    return {
        "ids": found.ids,
        "ranks": ranks.cpu().numpy(),
        "times": times,
        "entries": len(members[1]),
        "terms": float((holders * (holders - 1) / 2).sum()),
        "expanded": float(weights.start.diff()[ranks[:, :K2]].sum()),
    }


def _phase(times: dict[str, float], name: str, work):
    result, times[name] = common.timed(work)
    return result


def whole(features: np.ndarray, device: str, backend: str) -> tuple[np.ndarray, float]:
    """`pseudo_labels` as the methods call it. -> (labels, seconds)"""
    rows = torch.from_numpy(features).to(device)
    found, spent = common.timed(lambda: pseudo_labels(rows, k1=K1, k2=K2, eps=EPS, backend=backend))
    return found.ids, spent


def floors(run: dict, images: int, dimensions: int, device: str) -> dict[str, float]:
    """Lower bound in seconds by phase: each product computed, each list, weight and term read once."""
    product, copy = common.product_rate(device), common.copy_rate(device)
    return {
        "nearest neighbours": images**2 * dimensions / product,  # half of 2 N^2 D: products are symmetric
        "sets": images * K1 * K1 * 8 / copy,
        "weights": run["entries"] * dimensions * 4 / copy,
        "query expansion": run["expanded"] * 20 / copy,  # int64 cell, int32 value, int32 sum read and written
        "min-sum": run["terms"] * 20 / copy,
    }


def compare(images: int, args) -> None:
    """Dense and sparse at the same size, from the same rank lists."""
    features = synthetic_features(images, args.dimensions, args.seed).numpy()
    sparse, sparse_memory = common.in_child(
        sparse_labels, [features], args.device, args.backend, threads=args.threads
    )
    (ids, dense), dense_memory = common.in_child(
        dense_labels, [sparse["ranks"], features], threads=args.threads
    )
    times = dict(sparse["times"])
    ours = {"sets and weights": times.pop("sets") + times.pop("weights"), **times}
    dense = {"nearest neighbours": ours["nearest neighbours"], **dense}  # the same rank lists
    print(
        f"Dense form and sparse form, N = {images:,}, D = {args.dimensions}: labels "
        f"{agreement(ids, sparse['ids'])}"
    )
    rows = [
        (name, common.seconds(dense[name]), common.seconds(ours[name]), f"{dense[name] / ours[name]:.1f}x")
        for name in dense
    ]
    total, mine = sum(dense.values()), sum(ours.values())
    rows.append(("all", common.seconds(total), common.seconds(mine), f"{total / mine:.1f}x"))
    total, mine = total - dense["nearest neighbours"], mine - ours["nearest neighbours"]
    rows.append(("all but the search", common.seconds(total), common.seconds(mine), f"{total / mine:.1f}x"))
    ratio = f"{dense_memory / max(1, sparse_memory):.1f}x"
    rows.append(("peak memory", common.mebibytes(dense_memory), common.mebibytes(sparse_memory), ratio))
    common.table(("phase", "dense", "sparse", "ratio"), rows)


def agreement(left: np.ndarray, right: np.ndarray) -> str:
    return "agree" if np.array_equal(left, right) else f"DIFFER at {(left != right).sum()} images"


def phases(images: int, args, backends: list[str]) -> None:
    """The sparse form by phase, with the floor."""
    features = synthetic_features(images, args.dimensions, args.seed).numpy()
    for backend in backends:
        run, memory = common.in_child(sparse_labels, [features], args.device, backend, threads=args.threads)
        floor = floors(run, images, args.dimensions, args.device)
        clusters = run["ids"].max() + 1
        print(
            f"Sparse form, N = {images:,}, D = {args.dimensions}, search by {backend}: {clusters} clusters, "
            f"{memory / 2**20:.0f} MiB peak"
        )
        rows = [
            (name, common.seconds(t), common.seconds(floor[name]) if name in floor else "")
            for name, t in run["times"].items()
        ]
        rows.append(("all", common.seconds(sum(run["times"].values())), common.seconds(sum(floor.values()))))
        common.table(("phase", "sparse", "floor"), rows)


def scaling(sizes: list[int], args) -> None:
    """`pseudo_labels` at several sizes, and how its phases grow."""
    rows = []
    for images in sizes:
        features = synthetic_features(images, args.dimensions, args.seed).numpy()
        run, memory = common.in_child(
            sparse_labels, [features], args.device, args.backend, threads=args.threads
        )
        (ids, spent), _ = common.in_child(whole, [features], args.device, args.backend, threads=args.threads)
        times = run["times"]
        search = times.pop("nearest neighbours")
        rest = [common.seconds(t) for t in times.values()]
        rows.append(
            (
                f"{images:,}",
                common.seconds(search),
                *rest,
                common.seconds(spent),
                common.mebibytes(memory),
                agreement(ids, run["ids"]),
            )
        )
    print(f"Growth with N, D = {args.dimensions}")
    common.table(
        (
            "N",
            "search",
            "sets",
            "weights",
            "expansion",
            "min-sum",
            "DBSCAN",
            "pseudo_labels",
            "peak memory",
            "labels",
        ),
        rows,
    )


def grouped_labels(groups: int, size: int, dimensions: int, seed: int, device: str) -> dict[str, object]:
    """`sparse_labels` of groups of `size` images of different identities. -> seconds by phase, clusters"""
    features = np.concatenate([synthetic_features(size, dimensions, seed + n).numpy() for n in range(groups)])
    run = sparse_labels(features, device, "torch", group=size)
    return {"times": run["times"], "clusters": int(run["ids"].max()) + 1}


def without_search(images: int, args) -> None:
    """Every phase but the search at a size whose N^2 products take too long here."""
    size = min(5_000, images)
    run, memory = common.in_child(
        grouped_labels,
        [],
        images // size,
        size,
        args.dimensions,
        args.seed,
        args.device,
        threads=args.threads,
    )
    times = {name: t for name, t in run["times"].items() if name != "nearest neighbours"}
    features = images * args.dimensions * 4
    print(
        f"Without the search, N = {images // size * size:,}, D = {args.dimensions}, neighbours within groups "
        f"of {size:,}: {run['clusters']} clusters, {memory / 2**20:.0f} MiB peak, with the copies of "
        f"features of {features / 2**20:.0f} MiB"
    )
    common.table(
        ("phase", "sparse"),
        [
            (name, common.seconds(t))
            for name, t in [*times.items(), ("all but the search", sum(times.values()))]
        ],
    )


def main() -> None:
    parser = common.arguments(__doc__)
    parser.add_argument(
        "--images", type=int, default=22_258, help="N of the sparse form (SYSU-MM01's visible images)"
    )
    parser.add_argument("--dimensions", type=int, default=1536)
    parser.add_argument(
        "--dense-images", type=int, default=5_000, help="N at which the dense form is compared"
    )
    parser.add_argument(
        "--full", action="store_true", help="compare the dense form at --images: minutes and 8 GB"
    )
    parser.add_argument("--scaling", type=int, nargs="*", default=[], help="sizes of a table of growth")
    parser.add_argument(
        "--without-search", type=int, default=0, metavar="N", help="time everything else at this size"
    )
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--backend", default="torch", choices=neighbors.BACKENDS)
    args = parser.parse_args()
    if args.quick:
        args.images, args.dimensions, args.dense_images, args.scaling, args.without_search = (
            900,
            64,
            600,
            [300, 600],
            900,
        )
    torch.set_num_threads(args.threads)
    print(common.machine(args.device))
    compare(args.images if args.full else args.dense_images, args)
    backends = ["torch", "faiss"] if args.device == "cpu" and importlib.util.find_spec("faiss") else ["torch"]
    phases(args.images, args, backends)
    if args.scaling:
        scaling(args.scaling, args)
    if args.without_search:
        without_search(args.without_search, args)


if __name__ == "__main__":
    main()
