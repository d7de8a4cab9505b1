"""PSEUDO-LABELS ACROSS MODALITIES."""

from sdcl.association.aggregation import aggregate, count_matches, one_to_one
from sdcl.association.ranking import collaborative_ranking, majority_of_neighbors
from sdcl.association.unification import (
    association_embedding,
    heterogeneous_scores,
    own_slices,
    propagate_labels,
    released_slices,
)

__all__ = [
    "aggregate", "association_embedding", "collaborative_ranking", "count_matches", "heterogeneous_scores", "majority_of_neighbors",
    "one_to_one", "own_slices", "propagate_labels", "released_slices",
]  # fmt: skip
