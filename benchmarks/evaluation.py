"""CMC, mAP and mINP: the usual loop over queries against `rank_metrics`.

    python benchmarks/evaluation.py [--quick]

Sizes: SYSU-MM01 (3,803 x 301, camera-3 queries skip camera 2, CMC over identities), RegDB (2,060 x 2,060) and
10,000 x 10,000.
"""

from __future__ import annotations

import common
import numpy as np
import torch

from sdcl.datasets.base import same_room
from sdcl.evaluation.metrics import rank_metrics

CASES = (("SYSU-MM01", 3803, 301, 96), ("RegDB", 2060, 2060, 206), ("large", 10_000, 10_000, 1000))
QUICK = (("SYSU-MM01", 60, 40, 12), ("RegDB", 50, 50, 5))


def synthetic_case(queries: int, gallery: int, identities: int, seed: int) -> list[np.ndarray]:
    """Similarity (Q, G) and the identities and cameras of both sides."""
    generator = np.random.default_rng(seed)
    query_ids, gallery_ids = np.arange(queries) % identities, np.arange(gallery) % identities
    similarity = generator.standard_normal((queries, gallery), np.float32)
    similarity += 2 * (query_ids[:, None] == gallery_ids)
    return [
        similarity,
        query_ids,
        gallery_ids,
        generator.choice([3, 6], queries),
        generator.choice([1, 2, 4, 5], gallery),
    ]


def loop_metrics(
    similarity, query_ids, gallery_ids, query_cameras, gallery_cameras, sysu: bool, max_rank: int = 20
) -> tuple:
    """Usual evaluator: sort all rows, then one query after another. -> (CMC, mAP, mINP)"""
    order = np.argsort(-similarity, axis=1, kind="stable")
    ranked_ids = gallery_ids[order]
    curves, precisions, penalties = [], [], []
    for query, identity in enumerate(query_ids):
        ids = ranked_ids[query]
        if sysu:
            ids = ids[~((query_cameras[query] == 3) & (gallery_cameras[order[query]] == 2))]
        match = ids == identity
        if not match.any():
            continue
        hits = match.cumsum()
        precisions.append((hits / np.arange(1, len(hits) + 1) * match).sum() / match.sum())
        last = np.flatnonzero(match)[-1]
        penalties.append(hits[last] / (last + 1))
        if sysu:
            distinct = ids[np.sort(np.unique(ids, return_index=True)[1])]
            match = distinct == identity
        curve = match.cumsum()[:max_rank] > 0
        curves.append(np.pad(curve, (0, max_rank - len(curve)), mode="edge"))
    return np.mean(curves, axis=0), np.mean(precisions), np.mean(penalties)


def run_loop(*case_and_setting) -> tuple:
    return common.timed(lambda: loop_metrics(*case_and_setting))


def run_ranked(
    similarity, query_ids, gallery_ids, query_cameras, gallery_cameras, sysu: bool, device: str
) -> tuple:
    on_device = torch.from_numpy(similarity).to(device)
    case = (on_device, query_ids, gallery_ids, query_cameras, gallery_cameras)
    settings = {"removed": same_room if sysu else None, "distinct_identities": sysu}
    metrics, seconds = common.timed(lambda: rank_metrics(*case, **settings), repeat=3)
    return (metrics.cmc, metrics.mAP, metrics.mINP), seconds


def main() -> None:
    parser = common.arguments(__doc__)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(common.machine(args.device))
    copy = common.copy_rate(args.device)
    rows = []
    for name, queries, gallery, identities in QUICK if args.quick else CASES:
        case = synthetic_case(queries, gallery, identities, args.seed)
        sysu = name == "SYSU-MM01"
        (expected, plain), plain_memory = common.in_child(run_loop, case, sysu, threads=args.threads)
        (ranked, ours), memory = common.in_child(run_ranked, case, sysu, args.device, threads=args.threads)
        agree = all(np.allclose(left, right, atol=1e-9) for left, right in zip(expected, ranked, strict=True))
        times = (
            common.seconds(plain),
            common.seconds(ours),
            f"{plain / ours:.0f}x",
            common.seconds(4 * queries * gallery / copy),
        )
        memories = (common.mebibytes(plain_memory), common.mebibytes(memory))
        rows.append((name, f"{queries:,} x {gallery:,}", *times, *memories, "agree" if agree else "DIFFER"))
    common.table(
        ("case", "size", "loop", "rank_metrics", "ratio", "floor", "loop memory", "our memory", "metrics"),
        rows,
    )


if __name__ == "__main__":
    main()
