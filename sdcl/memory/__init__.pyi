from .cluster import ClusterMemory as ClusterMemory
from .cluster import centroids as centroids
from .instance import InstanceMemory as InstanceMemory
