from .centres import cluster_centres as cluster_centres
from .centres import cluster_groups as cluster_groups
from .cluster import ClusterMemory as ClusterMemory
from .cluster import centroids as centroids
from .hybrid import HybridMemory as HybridMemory
from .instance import InstanceMemory as InstanceMemory
from .prototypes import Prototypes as Prototypes
from .prototypes import split_prototypes as split_prototypes
