from .cluster_contrast import ClusterContrast as ClusterContrast
from .cluster_contrast import Source as Source
from .cluster_contrast import joint_source as joint_source
from .labels import cluster as cluster
from .labels import cluster_each as cluster_each
from .labels import scatter as scatter
from .labels import side_by_side as side_by_side
from .neighbor_learning import NeighborLearning as NeighborLearning
