"""PSEUDO-LABELS ACROSS MODALITIES."""

from sdcl.association.ranking import collaborative_ranking, majority_of_neighbors

__all__ = ["collaborative_ranking", "majority_of_neighbors"]
