"""Slow forms of the clustering arithmetic, written from its definition."""

import numpy as np


def squared_distances(features):
    x = features.astype(np.float64)
    return ((x[:, None] - x[None]) ** 2).sum(2)


def dense(distance):
    full = np.ones(distance.shape, np.float32)
    full[np.repeat(np.arange(len(full)), np.diff(distance.indptr)), distance.indices] = distance.data
    return full


def degenerate(name):
    """Features whose rank lists hold many equal distances; "random" ones, and "5": fewer images than k1."""
    generator = np.random.default_rng(5)
    if name == "random":
        return generator.standard_normal((150, 8)).astype(np.float32)
    if name == "zeros":
        return np.zeros((40, 6), np.float32)
    points = generator.standard_normal((9, 6)).astype(np.float32)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    if name == "duplicates":
        return points[generator.integers(0, 9, 120)]  # about 13 copies of each, fewer than k1
    if name == "crowd":
        return np.concatenate((np.repeat(points[:1], 50, 0), points))  # 50 copies, more than k1
    if name == "norms":
        return points[generator.integers(0, 9, 90)] * generator.uniform(0.2, 1.5, (90, 1)).astype(
            np.float32
        )  # as GUR's rows
    return points[: int(name)]


def brute_force(features, k1, k2, ranks=None):
    """k-reciprocal Jaccard distance of the released code, dense; `ranks` if equal distances leave them
    open.
    """
    x = features.astype(np.float64)
    n = len(x)
    if ranks is None:
        ranks = np.argsort(squared_distances(features), axis=1, kind="stable")[:, : min(k1, n)]

    def reciprocal(i, k):
        return [j for j in ranks[i, :k] if i in ranks[j, :k]]

    half = round(k1 / 2) + 1
    v = np.zeros((n, n))
    for i in range(n):
        own = reciprocal(i, k1)
        members = set(own)
        for c in own:
            h = reciprocal(c, half)
            if len(set(h) & set(own)) > 2 / 3 * len(h):
                members |= set(h)
        members = sorted(members)
        e = np.exp(-(2 - 2 * x[i] @ x[members].T))
        v[i, members] = e / e.sum()
    if k2 > 1:
        v = np.stack([v[ranks[i, :k2]].mean(0) for i in range(n)])
    s = np.minimum(v[:, None], v[None]).sum(2)
    return np.maximum(1 - s / (2 - s), 0)
