"""Losses: tensors in, a scalar out."""

from sdcl.losses.contrast import cluster_contrast
from sdcl.losses.neighbor import agreeing_neighbors, neighbor_contrast

__all__ = ["agreeing_neighbors", "cluster_contrast", "neighbor_contrast"]
