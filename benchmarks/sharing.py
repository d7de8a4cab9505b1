"""Work sharing: what several processes gain, what sending costs, and the memory of process 0.

    python benchmarks/sharing.py [--quick] [--processes 2] [--images 20000] [--dimensions 1536]

gloo processes of --threads threads on this machine, which must have a core for each: otherwise they take
turns, and only the CPU time of process 0 shows what it no longer does. The peaks of memory need Linux.
"""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import common
import numpy as np
import torch
import torch.multiprocessing as mp
from clustering import EPS, K1, K2, synthetic_features

from sdcl import association
from sdcl.association import ranking, unification
from sdcl.clustering import jaccard, neighbors
from sdcl.runtime import distributed
from sdcl.runtime.work_sharing import alone, with_idle_ranks

GROUP = 5_000  # images among which neighbours are searched for the table of what is not shared
STRIP, MERGED = (
    128,
    1024,
)  # as at a million images, where strips are this narrow; so that constants vanish here
LISTED = 20  # K of CRA and CMLU


def measured(work: Callable[..., Any], *arguments: Any) -> tuple[Any, float, float, int]:
    """(result, seconds, CPU seconds of this process, growth of its peak memory in bytes)"""
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    status = Path("/proc/self/status").read_text()
    before = 1024 * int(re.search(r"VmRSS:\s+(\d+)", status)[1])
    wall, processor = time.perf_counter(), time.process_time()
    result = work(*arguments)
    spent = time.perf_counter() - wall, time.process_time() - processor
    return result, *spent, common.peak_memory() - before


def grouped_lists(features: torch.Tensor) -> torch.Tensor:
    parts = features.split(GROUP)
    return torch.cat([neighbors.rank_lists(p, K1, share=alone) + n * GROUP for n, p in enumerate(parts)])


def shared_jobs(features: torch.Tensor) -> None:
    """Everything that is shared: alone and together, with the same result."""
    images, half = len(features), len(features) // 2
    labels = np.arange(half) % max(2, half // 56)
    sides = [
        {"deep": side[:, ::2].contiguous(), "shallow": side[:, 1::2].contiguous()}
        for side in (features[:half], features[half : 2 * half])
    ]
    deep = [side["deep"] for side in sides]
    dimensions, ranks = features.shape[1], distributed._rank_and_count()[1]
    jobs = {  # name -> (call, computed bytes an image at the peak of process 0)
        "search": (lambda share: neighbors.rank_lists(features, K1, share=share), K1 * (12 * ranks + 16)),
        "CRA": (
            lambda share: association.collaborative_ranking(*sides, labels, LISTED, share=share),
            2 * dimensions + 2 * ranking.CHUNK,
        ),
        "smoothing": (
            lambda share: association.majority_of_neighbors(labels, sides[0], share=share),
            max(4 * dimensions, 2 * dimensions + 2 * ranking.CHUNK),
        ),
        "CMLU": (
            lambda share: association.propagate_labels(*deep, labels, LISTED, share=share),
            dimensions + 4 * unification.CHUNK,
        ),
        "CMA's counting": (lambda share: association.count_matches(*deep, labels, labels, share=share), None),
    }
    rows = []
    for name, (job, computed) in jobs.items():
        by_itself, wall, processor, _ = measured(job, alone)
        together, shared_wall, shared_processor, memory = measured(job, with_idle_ranks)
        rows.append(
            (
                name,
                common.seconds(wall),
                common.seconds(shared_wall),
                common.seconds(processor),
                common.seconds(shared_processor),
                "agree" if np.array_equal(by_itself, together) else "DIFFER",
                f"{memory / images:.0f} B",
                f"{computed:.0f} B" if computed else "",
            )
        )
    print(f"Shared, N = {images:,} (visible {half:,}), D = {dimensions}, {ranks} processes")
    common.table(
        ("job", "alone", "together", "CPU alone", "CPU together", "results", "memory an image", "computed"),
        rows,
    )


def sent_back(sizes: list[tuple[int, torch.dtype]], *_: torch.Tensor, shard: int, shards: int) -> tuple:
    """A shard of results of the given lengths, without any work."""
    return tuple(torch.zeros(length // shards, dtype=dtype) for length, dtype in sizes)


def linear_phases(features: torch.Tensor) -> None:
    """The phases that process 0 keeps, and the cost of sending their tensors there and back."""
    images, ranks = len(features), grouped_lists(features)
    sets, *spent_sets = measured(lambda: jaccard.reciprocal_sets(ranks, K1))
    weights, *spent_weights = measured(lambda: jaccard.neighbor_weights(features, *sets))
    shares = jaccard.fixed_point(weights, K2)
    expanded, *spent_expanded = measured(lambda: jaccard.query_expansion(weights, ranks[:, :K2]))
    pairs, *spent_pairs = measured(lambda: jaccard.pair_distances(expanded, EPS))
    members, entries, found = len(sets[1]), len(expanded.columns), len(pairs.first)
    int32, int64, real = torch.int32, torch.int64, torch.float64
    start = (images, int64)
    phases = {  # name -> (spent, results, arguments)
        "sets": (spent_sets, [start, (members, int64)], [ranks]),
        "weights": (spent_weights, [(members, real)], [features, *sets]),
        "expansion": (
            spent_expanded,
            [start, (entries, int64), (entries, int32)],
            [weights.start, weights.columns, shares.values, ranks[:, :K2]],
        ),
        "min-sum": (
            spent_pairs,
            3 * [(found, int32)],
            [expanded.start, expanded.columns, expanded.values],
        ),
    }
    rows, left = [], 1 - 1 / distributed._rank_and_count()[1]
    for name, ((wall, _, memory), results, arguments) in phases.items():
        sending = min(measured(with_idle_ranks, sent_back, results, *arguments)[1] for _ in range(3))
        seconds = (common.seconds(value) for value in (wall, wall * left, sending))
        rows.append((name, *seconds, f"{memory / images:.0f} B"))
    print(f"Not shared, N = {images:,}, D = {features.shape[1]}, neighbours within groups of {GROUP:,}")
    common.table(("phase", "alone", "saved at best", "sending", "memory an image"), rows)


def measure(images: int, dimensions: int, seed: int) -> None:
    jaccard.jaccard_distance(synthetic_features(600, 48, seed), K1, K2, share=alone)  # compiles
    features = [
        synthetic_features(min(GROUP, images), dimensions, seed + n) for n in range(-(-images // GROUP))
    ]
    linear_phases(torch.cat(features))
    shared_jobs(torch.cat(features))


def process(rank: int, args: Any, port: int) -> None:
    names = {"RANK": rank, "WORLD_SIZE": args.processes, "LOCAL_RANK": rank, "MASTER_PORT": port}
    os.environ |= {name: str(value) for name, value in names.items()} | {"MASTER_ADDR": "127.0.0.1"}
    torch.set_num_threads(args.threads)
    neighbors.MAX_STRIP, neighbors.MERGED_ROWS = STRIP, MERGED
    distributed.start("cpu")
    distributed.once(lambda: measure(args.images, args.dimensions, args.seed))
    distributed.stop()


def main() -> None:
    parser = common.arguments(__doc__)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--images", type=int, default=20_000, help="N, in whole groups of 5,000")
    parser.add_argument("--dimensions", type=int, default=1536, help="D of deep and shallow feature together")
    args = parser.parse_args()
    if args.quick:
        args.images, args.dimensions = 600, 48
    print(common.machine())
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    # freed memory returns to the system, so that peaks are those of the data
    os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", "65536")
    mp.spawn(process, (args, port), nprocs=args.processes)


if __name__ == "__main__":
    main()
