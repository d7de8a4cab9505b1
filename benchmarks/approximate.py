"""Approximate neighbour search beside the exact one: seconds, recall, and whether the pseudo-labels agree.

    python benchmarks/approximate.py [--quick] [--images 100000] [--probes 8 32 128] [--hnsw]

Recall is the share of the exact lists' other images that a list holds. Labels are compared by their adjusted
Rand index, every outlier a cluster of its own. --hnsw adds faiss's graph index, which `--knn` does not offer.
"""

from __future__ import annotations

import common
import numpy as np
import torch
from clustering import EPS, K1, K2, MIN_SAMPLES, synthetic_features
from sklearn.metrics import adjusted_rand_score

from sdcl.clustering import jaccard, neighbors
from sdcl.clustering.density import dbscan_of_pairs
from sdcl.clustering.neighbors_faiss import InvertedLists


def labels(rows: torch.Tensor, ranks: torch.Tensor) -> np.ndarray:
    """Pseudo-labels int64 (N,) from rank lists (N, K1): the other steps of `pseudo_labels`."""
    weights = jaccard.neighbor_weights(rows, *jaccard.reciprocal_sets(ranks, K1))
    pairs = jaccard.pair_distances(jaccard.query_expansion(weights, ranks[:, :K2]), EPS)
    return dbscan_of_pairs(len(rows), pairs.first, pairs.second, MIN_SAMPLES).ids


def recall(ranks: torch.Tensor, exact: torch.Tensor) -> float:
    """Share of the exact lists, without the image itself, that the lists (N, K1) hold."""
    shared = sum(
        (left[:, 1:, None] == right[:, None, 1:]).sum().item()
        for left, right in zip(ranks.split(4096), exact.split(4096))
    )
    return shared / exact[:, 1:].numel()


def agreement(left: np.ndarray, right: np.ndarray) -> float:
    """Adjusted Rand index, every outlier a cluster of its own."""
    return adjusted_rand_score(*(np.where(ids < 0, -1 - np.arange(len(ids)), ids) for ids in (left, right)))


def hnsw(rows: torch.Tensor) -> torch.Tensor:
    """Lists (N, K1) of faiss's graph index: 32 links an image, 64 candidates in a search."""
    import faiss

    index = faiss.IndexHNSWFlat(rows.shape[1], 32)
    index.hnsw.efSearch = 64
    index.add(rows.numpy())
    return neighbors._with_image_first(torch.from_numpy(index.search(rows.numpy(), K1)[1]).clamp(min=0))


def searches(args) -> dict[str, object]:
    """Name of a search -> rank lists (N, K1) of features (N, D); the exact one first."""

    def by(backend: str):
        return lambda rows: neighbors.rank_lists(rows, K1, backend=backend)

    lists = InvertedLists(args.lists).lists_of(args.images)
    inverted = {f"{lists:,} lists, {p} probed": by(str(InvertedLists(args.lists, p))) for p in args.probes}
    return {"exact (torch)": by("torch"), **inverted, **({"HNSW, 32 links": hnsw} if args.hnsw else {})}


def main() -> None:
    parser = common.arguments(__doc__)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--dimensions", type=int, default=768)
    parser.add_argument("--lists", type=int, default=0, help="as --knn-lists of a run")
    parser.add_argument("--probes", type=int, nargs="+", default=[8, 32, 128])
    parser.add_argument("--hnsw", action="store_true", help="also faiss's graph index")
    args = parser.parse_args()
    if args.quick:
        args.images, args.dimensions, args.probes, args.hnsw = 2_000, 64, [4, 16], True
    torch.set_num_threads(args.threads)
    import faiss

    faiss.omp_set_num_threads(args.threads)
    print(common.machine())
    rows = synthetic_features(args.images, args.dimensions, args.seed)
    labels(rows[:200], neighbors.rank_lists(rows[:200], K1))  # compiles the loops
    table, first = [], None
    for name, search in searches(args).items():
        ranks, seconds = common.timed(lambda search=search: search(rows))
        ids = labels(rows, ranks)
        first = first or (ranks, seconds, ids)
        ratio = f"{first[1] / seconds:.1f}x"
        found = f"{recall(ranks, first[0]):.4f}", f"{agreement(ids, first[2]):.4f}"
        table.append(
            (name, common.seconds(seconds), ratio, *found, f"{ids.max() + 1:,}", f"{(ids < 0).sum():,}")
        )
        print(" ".join(map(str, table[-1])), flush=True)
    print(f"\nN = {args.images:,}, D = {args.dimensions}, k = {K1}, {args.threads} thread(s)")
    header = ("search", "seconds", "speed", "recall", "adjusted Rand index", "clusters", "outliers")
    common.table(header, table)


if __name__ == "__main__":
    main()
