"""FEATURES -> PSEUDO-LABELS, within one modality."""

from sdcl.clustering.dbscan import dbscan, pseudo_labels
from sdcl.clustering.jaccard import jaccard_distance
from sdcl.clustering.neighbors import nearest_neighbors
from sdcl.clustering.pseudo_labels import LabelSet, PseudoLabels

__all__ = ["LabelSet", "PseudoLabels", "dbscan", "jaccard_distance", "nearest_neighbors", "pseudo_labels"]
