"""FEATURES -> PSEUDO-LABELS, within one modality."""

from sdcl.clustering.dbscan import PseudoLabels, dbscan, pseudo_labels
from sdcl.clustering.jaccard import jaccard_distance
from sdcl.clustering.neighbors import nearest_neighbors

__all__ = ["PseudoLabels", "dbscan", "jaccard_distance", "nearest_neighbors", "pseudo_labels"]
