from .contrast import cluster_contrast as cluster_contrast
from .hybrid import hybrid_contrast as hybrid_contrast
from .inverse_distance import inverse_distance_contrast as inverse_distance_contrast
from .inverse_distance import nearest_cluster as nearest_cluster
from .neighbor import agreeing_neighbors as agreeing_neighbors
from .neighbor import neighbor_contrast as neighbor_contrast
from .selected import camera_contrast as camera_contrast
from .selected import multi_positive_contrast as multi_positive_contrast
