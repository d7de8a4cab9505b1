from .density import dbscan as dbscan
from .density import pseudo_labels as pseudo_labels
from .jaccard import jaccard_distance as jaccard_distance
from .labels import LabelSet as LabelSet
from .labels import PseudoLabels as PseudoLabels
from .modality_aware import joint_pseudo_labels as joint_pseudo_labels
from .modality_aware import modality_aware_distance as modality_aware_distance
from .neighbors import nearest_neighbors as nearest_neighbors
