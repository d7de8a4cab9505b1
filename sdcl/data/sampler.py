"""P x K sampling of training batches: a pure function of labels, cameras and seed.

P clusters of K images each, as in the released ADCA, GUR and SDCL code.

Legend: N images, K images of a cluster in a batch.
"""

from __future__ import annotations

import numpy as np

from sdcl.runtime.validation import at_least_one


def epoch_batches(
    labels: np.ndarray,
    cameras: np.ndarray,
    *,
    batch_size: int,
    num_instances: int,
    iterations: int,
    seed: tuple[int, ...],
    across_cameras: bool = True,
) -> np.ndarray:
    """Indexes of training images for every step of a stage, over all ranks.

    One pass goes through all clusters in random order: a random anchor, then K - 1 more images of its
    cluster, all from other cameras when the cluster has any, with replacement when there are fewer than K (as
    released; K - 1 would do). A cluster with one image gives one entry. Batches are consecutive slices of the
    pass; an incomplete last one is dropped, unless a pass cannot fill a single batch: then passes are joined.

    Args:
        labels: int (N,), -1 is never sampled. cameras: int (N,).
        batch_size: images of a batch. num_instances: K. iterations: number of batches.
        seed: of the random generator, such as (seed, epoch, modality).
        across_cameras: prefer images of other cameras than the anchor's.

    Returns:
        int64 (iterations, batch_size).

    Raises:
        ValueError: no image has a label, or a size below 1.
    """
    at_least_one(batch_size=batch_size, num_instances=num_instances, iterations=iterations)
    generator = np.random.default_rng(seed)
    groups = [_Cluster(rows, cameras[rows]) for rows in _rows_of_clusters(labels)]
    if not groups:
        raise ValueError("no image has a cluster label, so no batch can be drawn")
    batches: list[np.ndarray] = []
    rest = np.zeros(0, np.int64)
    while len(batches) < iterations:
        parts = [
            groups[c].draw(generator, num_instances, across_cameras)
            for c in generator.permutation(len(groups))
        ]
        order = np.concatenate([rest, *parts])
        whole = len(order) // batch_size
        batches.extend(order[: whole * batch_size].reshape(whole, batch_size))
        rest = order if whole == 0 else rest[:0]
    return np.stack(batches[:iterations])


def _rows_of_clusters(labels: np.ndarray) -> list[np.ndarray]:
    """Ascending indexes of the images of each cluster, clusters by label, from one sort of all labels."""
    rows = np.argsort(labels, kind="stable")
    rows = rows[np.searchsorted(labels[rows], 0) :]  # outliers, -1, come first
    return np.split(rows, np.flatnonzero(np.diff(labels[rows])) + 1) if len(rows) else []


class _Cluster:
    """Images of one cluster, by index, and their cameras."""

    def __init__(self, rows: np.ndarray, cameras: np.ndarray):
        self.rows, self.cameras = rows, cameras

    def draw(self, generator: np.random.Generator, count: int, across_cameras: bool) -> np.ndarray:
        """An anchor and count - 1 other images, int64 (count,), or (1,) where there is no other."""
        anchor = generator.integers(len(self.rows))
        if len(self.rows) == 1 or count == 1:
            return self.rows[[anchor]]
        others = self.rows[self.cameras != self.cameras[anchor]] if across_cameras else self.rows[:0]
        if len(others) == 0:
            others = np.delete(self.rows, anchor)
        more = generator.choice(others, count - 1, replace=len(others) < count)
        return np.concatenate([self.rows[[anchor]], more])
