from .contrast import cluster_contrast as cluster_contrast
from .neighbor import agreeing_neighbors as agreeing_neighbors
from .neighbor import neighbor_contrast as neighbor_contrast
