from .density import dbscan as dbscan
from .density import pseudo_labels as pseudo_labels
from .jaccard import jaccard_distance as jaccard_distance
from .labels import LabelSet as LabelSet
from .labels import PseudoLabels as PseudoLabels
from .neighbors import nearest_neighbors as nearest_neighbors
