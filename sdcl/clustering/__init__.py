"""Pseudo-labels from features, within one set of images: neighbours, Jaccard distance, DBSCAN."""

from sdcl.clustering.dbscan import pseudo_labels
from sdcl.clustering.jaccard import jaccard_distance
from sdcl.clustering.labels import LabelSet, PseudoLabels
from sdcl.clustering.neighbors import nearest_neighbors

__all__ = ["LabelSet", "PseudoLabels", "jaccard_distance", "nearest_neighbors", "pseudo_labels"]
