"""Memory banks: cluster centroids and one row per image."""

from sdcl.memory.cluster import ClusterMemory, centroids
from sdcl.memory.instance import InstanceMemory

__all__ = ["ClusterMemory", "InstanceMemory", "centroids"]
